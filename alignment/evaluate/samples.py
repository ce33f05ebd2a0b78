"""Rows and answers for a run's page: its first training rows with their mask, and its answers beside its parent's.

Everything is found from the manifest; what is no longer there gives a sentence instead of an error.
"""

from __future__ import annotations

import gc
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from data_recipes.errors import AlignError
from data_recipes.records import BadRow, Comparison

from alignment.data import RowSet, read_rows
from alignment.evaluate.evidence import KINDS, find
from alignment.evaluate.policies import Sampling, answer, as_messages
from alignment.evaluate.retained import HEADLESS
from alignment.evaluate.rows import as_prompts
from alignment.generation.decoding import Decoding
from alignment.runs import Run, parent_path
from alignment.sources import Source, base_of, resolve

FIRST = 2
NEW_TOKENS = 160


def training_rows(run: Run) -> tuple[RowSet | None, str]:
    """The run's rows, split as it split them; None and the reason where the files are not what they were."""
    section = dict(run.manifest["config"]["data"])
    parts = {"train": section["train"], "validation": section.get("validation")}
    for part, value in parts.items():
        if not value:
            continue
        found = [find(run, entry) for entry in run.manifest["data"][part]["sources"]]
        if missing := [why for path, why in found if path is None]:
            return None, f"The {part} rows cannot be shown: {missing[0]}."
        section[part] = [str(path) for path, _ in found]
    rows = read_rows(
        SimpleNamespace(**section),
        KINDS[run.stage],
        seed=run.manifest["config"]["training"]["seed"] if section.get("split_seed") is None else section["split_seed"],
        private=run.private,
    )
    return rows, ""


def first_rows(run: Run, rows: RowSet, count: int = FIRST) -> list[dict]:
    """The first training rows as pieces of text that are trained or not."""
    from alignment.models import load_tokenizer
    from data_recipes.seq2seq import make_renderer

    renderer = make_renderer(*load_tokenizer(resolve(run.path)), run.manifest["template"]["options"])
    shown = []
    for record in rows.train:
        if len(shown) == count:
            break
        try:
            shown.append({"where": Path(record.where).name, "pieces": pieces(renderer, record)})
        except BadRow:  # it is in the ledger already: the run left it out too
            continue
    return shown


def pieces(renderer: Any, record: Any) -> list[dict]:
    """Stretches of a rendered row, each trained or not."""
    if isinstance(record, Comparison):
        pair = renderer.comparison(record)
        made = [_piece(renderer, pair.prompt_ids, False)]
        for name, ids in (("chosen", pair.chosen_ids), ("rejected", pair.rejected_ids)):
            made += [{"text": f"\n[{name}]\n", "trained": False}, _piece(renderer, ids, True)]
        return made
    row = renderer.demonstration(record)
    runs = groupby(zip(row.input_ids, row.trained, strict=True), key=lambda pair: pair[1])
    return [_piece(renderer, [token for token, _ in stretch], trained) for trained, stretch in runs]


def _piece(renderer: Any, ids: list[int], trained: bool) -> dict:
    return {"text": renderer.tokenizer.decode(ids, clean_up_tokenization_spaces=False), "trained": trained}


def side_by_side(run: Run, rows: RowSet, count: int, how: dict) -> list[dict]:
    """Held-out rows with what the run makes of them: its answers beside its parent's, or its scores of both sides."""
    held_out = (rows.validation or rows.train)[:count]
    if run.stage == "reward":
        return _scored_pairs(run, held_out, how)
    records = as_prompts([_prompt_of(record) for record in held_out])
    name, before = _before(run, how.get("base"))
    policies = [("before: " + name, before)] if before else []
    policies.append(("after: " + run.path.name, resolve(run.path)))
    sides = [(name, _answers(source, records, run, how)) for name, source in policies]
    return [
        {"prompt": as_messages(record.messages), "sides": [_side(name, made[i]) for name, made in sides]}
        for i, record in enumerate(records)
    ]


def _prompt_of(record: Any) -> Any:
    from data_recipes.records import Prompt

    return Prompt(record.prompt, record.tools, record.where) if isinstance(record, Comparison) else record


def _before(run: Run, base_at: str | None) -> tuple[str, Source | None]:
    """Name and place of the policy that the run was tuned from; None where that is no longer there.

    A reward model or a classifier gives no answers: its base stands for it.
    """
    for parent in run.manifest.get("parents", []):
        if parent["role"] == "model" and parent["stage"] in HEADLESS:
            path = parent_path(run, parent)
            return (path.name, resolve(path)) if path.is_dir() else ("", None)
    source = resolve(run.path)
    return ("base", base_of(source, base=base_at)) if source.is_adapter else ("", None)


def _answers(source: Source, records: list, run: Run, how: dict) -> list:
    from dataclasses import replace

    from alignment.models import load_policy, load_tokenizer

    loaded = load_policy(source, **how)
    tokenizer, preparation = load_tokenizer(resolve(run.path))
    loaded = replace(loaded, tokenizer=tokenizer, preparation=preparation, options=run.manifest["template"]["options"])
    made = [row[0] for row in answer(loaded, records, Sampling(Decoding(max_new_tokens=NEW_TOKENS)))]
    del loaded
    gc.collect()
    return made


def _side(name: str, done: Any) -> dict:
    ending = "ended by itself" if done.stopped else "cut at the limit"
    return {"name": name, "text": done.text, "note": f"{done.tokens} tokens, {ending}"}


def _scored_pairs(run: Run, pairs: list, how: dict) -> list[dict]:
    from alignment.evaluate.cards import score_member
    from alignment.models import load_scorer

    chosen, rejected = score_member(load_scorer(str(run.path), **how), pairs, batch_size=8)
    return [
        {
            "prompt": as_messages(pair.prompt),
            "sides": [
                {
                    "name": f"chosen: {good:.3f}",
                    "text": pair.chosen[0].content,
                    "note": "right" if good > bad else "wrong" if bad > good else "tie",
                },
                {"name": f"rejected: {bad:.3f}", "text": pair.rejected[0].content, "note": ""},
            ],
        }
        for pair, good, bad in zip(pairs, chosen, rejected, strict=True)
    ]


def words(stage: str, *, held_out: bool) -> str:
    """What the samples are."""
    where = "held-out rows" if held_out else "training rows, since none were held out"
    if stage == "reward":
        return f"Pairs from {where}, with the scores of this run."
    return f"Greedy answers to prompts from {where}, before and after this stage."


def gather(run: Run, count: int, how: dict) -> dict:
    """`rows`, `rows_note`, `samples`, `samples_words`, `samples_note` of a run's page."""
    found: dict = {"rows": [], "rows_note": "", "samples": [], "samples_words": "", "samples_note": ""}
    try:
        rows, why = training_rows(run)
        if rows is None:
            return {**found, "rows_note": why, "samples_note": "No rows, so no samples."}
        found["rows"] = first_rows(run, rows)
        if count and run.state == "completed":
            found["samples"] = side_by_side(run, rows, count, how)
            found["samples_words"] = words(run.stage, held_out=bool(rows.validation))
        else:
            found["samples_note"] = (
                "None were asked for." if run.state == "completed" else f"None yet: the run is {run.state}."
            )
    except AlignError as error:  # the page is still worth having; it says what is missing
        note = "samples_note" if found["rows"] else "rows_note"
        found[note] = error.paragraph()
    return found
