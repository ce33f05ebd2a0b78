"""`align generate`: answers of one or several models to a file of prompts. Light until a model is needed.

The models answer one after the other, each into its own file in `OUTPUT.parts/`; at the end those are joined, row by
row, and `OUTPUT` appears whole. `OUTPUT.meta.json` records models, data, settings and seeds. The same command continues
after a kill: finished rows are kept, a partial last line is cut.
"""

from __future__ import annotations

import gc
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alignment.generation.decoding import Decoding, row_seed
from alignment.runs.identity import identity
from alignment.generation.resumable import (
    clear_parts,
    finish,
    keep_whole_lines,
    meta_file,
    open_record,
    part_file,
    parts_folder,
    working,
    write_record,
)
from alignment.runs import trained_in
from alignment.sources import Source, check_hub, resolve
from data_recipes.errors import Failed, Refused
from data_recipes.files import move_in
from data_recipes.records import BadRow

OURS = ("prompt", "responses", "sources", "generation")
CHUNK = 8  # batches between two writes: what a kill may lose


@dataclass(frozen=True)
class Request:
    """One `align generate` command.

    models: runs, folders or hub ids. data: prompts in any format that the reader takes (format and max_rejected as
    there). samples: answers per prompt and model. limit: first rows only. how: `models.Loading` arguments. batch_size
    changes no answer and may differ on resuming.
    """

    models: tuple[str, ...]
    data: str
    output: Path
    samples: int = 1
    decoding: Decoding = field(default_factory=Decoding)
    batch_size: int = 16
    limit: int | None = None
    system: str | None = None
    format: str = "auto"
    max_rejected: float = 0.0
    restart: bool = False
    how: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise Refused(f"samples cannot be {self.samples}", where="--samples", expected="1 or more")
        self.decoding.check_samples(self.samples)


def generate_file(request: Request, ui: Any, *, dry_run: bool = False) -> dict:
    """Answers every prompt and writes `request.output`; returns a summary.

    Raises:
        Refused: bad rows, a model that is none, or an output made with other settings.
    """
    sources = [resolve(text) for text in request.models]
    rows, data = read_prompts(request, ui)
    asked = describe(request, sources, data)
    summary = {
        "output": str(request.output),
        "rows": len(rows),
        "models": list(request.models),
        "samples": request.samples,
        "decoding": request.decoding.as_dict(),
        "meta": str(meta_file(request.output)),
    }
    ui.say(f"{len(rows)} prompts x {request.samples} x {len(sources)} models; {request.decoding.describe()}")
    if dry_run:
        return {**summary, "state": "dry-run"}
    with working(request.output):
        record = open_record(request.output, asked, restart=request.restart)
        if record["state"] == "completed":
            ui.say(f"{request.output} is complete already, made by the same command")
            clear_parts(request.output)
            return {**summary, "state": "already-completed"}
        for number, source in enumerate(sources):
            answer(request, number, source, rows, record, ui)
        join(request, rows)
        finish(request.output, record)
    return {**summary, "state": "completed"}


def read_prompts(request: Request, ui: Any) -> tuple[list, list[dict]]:
    """The prompts and the reader's list of sources.

    Raises Refused for bad rows, an empty file or a clash of columns.
    """
    from data_recipes.readers import read

    found = read(request.data, "prompts", format=request.format)
    found.ledger.check(request.max_rejected)
    for line in found.ledger.notes:
        ui.say(line)
    if found.ledger.refused:
        ui.warn(f"{found.ledger.refused} bad rows are left out: {found.ledger.rejected}")
    for row in found.records:
        if clash := [name for name in OURS[1:] if name in row.extra]:
            raise Refused(
                f"the row has a column '{clash[0]}', which this command writes",
                where=row.where,
                do="Rename or drop it.",
            )
    return found.records[: request.limit], found.ledger.sources


def token_ids(renderer: Any, row: Any) -> list[int]:
    """A row's prompt in the model's own template. Raises Refused where the template does not take it."""
    try:
        return renderer.prompt(row.messages, tools=row.tools)
    except BadRow as error:
        raise Refused(
            error.detail, where=row.where, expected="messages that the model's chat template takes"
        ) from error


def is_reward(source: Source) -> bool:
    """Whether an adapter here has a score head, told from its config alone; whole models are told apart on loading."""
    return source.kind != "hub" and source.is_adapter and source.adapter_config().get("task_type") == "SEQ_CLS"


def check_answers(source: Source) -> None:
    """Raises Refused for what is out of reach or gives no answers, before torch is loaded."""
    check_hub(source)
    if is_reward(source):
        raise Refused("a reward model scores answers and gives none", where=source.text, expected="a policy")


def describe(request: Request, sources: Sequence[Source], data: list[dict]) -> dict:
    """All that decides the answers, JSON-able: what is compared when the command is given again."""
    for source in sources:
        check_answers(source)
    return {
        "models": [{"name": source.text, **identity(source, base=request.how.get("base"))} for source in sources],
        "loading": {key: value for key, value in request.how.items() if key not in {"base", "device"}},
        "data": [source["sha256"] for source in data],
        "formats": [source["format"] for source in data],
        "limit": request.limit,
        "samples": request.samples,
        "system": request.system,
        "decoding": request.decoding.as_dict(),
    }


# ---------------------------------------------------------------------------------------------------- one model's part


def answer(request: Request, number: int, source: Source, rows: list, record: dict, ui: Any) -> None:
    """Lets one model answer all prompts that its part does not hold yet.

    Raises:
        Failed: its part has more rows than there are prompts.
    """
    part = part_file(request.output, number)
    done = keep_whole_lines(part)
    if done > len(rows):
        raise Failed(f"the part has {done} rows for {len(rows)} prompts", where=part, do="Start anew with --restart.")
    if done == len(rows):
        return
    if done:
        ui.say(f"{source.text}: {done} rows are done; going on with row {done + 1}")
    loaded, renderer = load(request, source, ui)
    prompts = [token_ids(renderer, row) for row in rows[done:]]
    for remark in renderer.remarks():
        ui.warn(f"{source.text}: {remark}")
    check_room(loaded, prompts, request, [row.where for row in rows[done:]])
    check_commit(record, number, loaded)
    write_record(request.output, record)
    with open(part, "a", encoding="utf-8") as file:
        for lines in chunks(loaded, renderer, prompts, done, request, ui, source.text):
            file.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
    del loaded, renderer
    gc.collect()  # the next model's weights need the room


def load(request: Request, source: Source, ui: Any) -> tuple[Any, Any]:
    """The model and its renderer; says which template one without gets, and which settings of its folder are not applied."""
    from alignment.generation.batched import folder_settings
    from alignment.models import load_policy

    if whole := taken_whole(source, request.how.get("quantisation", "none")):
        ui.warn(whole)
    loaded = load_policy(source, **request.how)
    renderer = loaded.renderer(**({} if request.system is None else {"system": request.system}))
    if chosen := loaded.preparation.chosen:
        ui.say(f"{source.text}: {chosen}")
    ignored = folder_settings(loaded.model)
    ui.say(
        f"{source.text}: loaded on {loaded.device}"
        + (f"; not applied from its generation config: {ignored}" if ignored else "")
    )
    return loaded, renderer


def taken_whole(source: Source, quantisation: str) -> str:
    """What to say where an adapter was trained on a quantised base and answers on the whole one; empty elsewhere."""
    if (before := trained_in(source)) == "none" or quantisation != "none":
        return ""
    asked = f"--quantisation {before} asks it as it was"
    return f"{source.text} was trained on its base in {before}, and answers on the whole one: {asked}"


def check_commit(record: dict, number: int, loaded: Any) -> None:
    """A hub name may move on between two runs of the command: its commit is kept in the record and compared.

    Raises:
        Refused: it has moved on.
    """
    commit = getattr(loaded.model.config, "_commit_hash", None)
    kept = record.setdefault("commits", {}).setdefault(str(number), commit)
    if kept != commit:
        raise Refused(
            f"the hub model is now at {commit}, the answers were begun with {kept}",
            where=loaded.source.text,
            do="Name the old revision with @REVISION, or start anew with --restart.",
        )


def check_room(loaded: Any, prompts: list[list[int]], request: Request, where: list[str]) -> None:
    """Refuses a row without room before the first one is answered."""
    from alignment.generation.batched import rooms

    rooms(loaded.model, prompts, request.decoding.max_new_tokens, where)


def chunks(
    loaded: Any, renderer: Any, prompts: list[list[int]], first: int, request: Request, ui: Any, name: str
) -> Iterator[list[dict]]:
    """Answers in the prompts' order, some batches at a time; each item is a part's rows."""
    from alignment.generation.batched import generate

    settings = {key: value for key, value in request.decoding.as_dict().items() if key != "seed"}
    size = max(1, CHUNK * request.batch_size // request.samples)
    began, tokens, total = time.monotonic(), 0, first + len(prompts)
    for start in range(0, len(prompts), size):
        block = prompts[start : start + size]
        seeds = [
            row_seed(request.decoding.seed, first + start + i, k)
            for i in range(len(block))
            for k in range(request.samples)
        ]
        asked = [prompt for prompt in block for _ in range(request.samples)]
        made = generate(loaded, asked, **settings, seed=seeds, batch_size=request.batch_size, renderer=renderer)
        tokens += sum(completion.tokens for completion in made)
        speed = tokens / max(time.monotonic() - began, 1e-9)
        ui.say(f"{name}: {first + start + len(block)}/{total} rows  {speed:,.0f} tokens/s")
        yield [
            part_row(made[i : i + request.samples], seeds[i : i + request.samples])
            for i in range(0, len(made), request.samples)
        ]


def part_row(made: list, seeds: list[int]) -> dict:
    """One prompt's answers by one model."""
    return {
        "responses": [completion.text for completion in made],
        "stopped": [completion.stopped for completion in made],
        "tokens": [completion.tokens for completion in made],
        "seeds": seeds,
    }


# ------------------------------------------------------------------------------------------------------------- the end


def join(request: Request, rows: list) -> None:
    """Writes the output from the parts, row by row, and gives it its name at the end."""
    whole = parts_folder(request.output) / "joined.tmp"
    with ExitStack() as held:
        files = [part_file(request.output, number) for number in range(len(request.models))]
        parts = [held.enter_context(open(file, encoding="utf-8")) for file in files]
        joined_file = held.enter_context(open(whole, "w", encoding="utf-8"))
        for row, *lines in zip(rows, *parts, strict=True):
            made = joined(row, request.models, [json.loads(line) for line in lines])
            joined_file.write(json.dumps(made, ensure_ascii=False) + "\n")
    move_in(whole, request.output)


def joined(row: Any, models: Sequence[str], made: list[dict]) -> dict:
    """The output's row: prompt, all models' responses, who made which, and the row's other columns."""
    flat = {key: [value for part in made for value in part[key]] for key in ("responses", "stopped", "tokens", "seeds")}
    sources = [name for name, part in zip(models, made, strict=True) for _ in part["responses"]]
    tools = {"tools": list(row.tools)} if row.tools else {}
    return {
        "prompt": [message.as_dict() for message in row.messages],
        "responses": flat.pop("responses"),
        "sources": sources,
        "generation": flat,
        **tools,
        **{key: value for key, value in row.extra.items() if key not in OURS},
    }
