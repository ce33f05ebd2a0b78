"""Generators for recipes and judges by name: a run, a folder, a hub id, an endpoint or a recording. Light until asked."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from alignment.evaluate.arms import finished
from alignment.runs import check_base
from alignment.runs.identity import identity
from alignment.sources import Source, base_of, resolve
from data_recipes.augment.endpoint import Endpoint, Settings, is_url
from data_recipes.augment.generator import Answer, Generator, Request
from data_recipes.augment.request_log import Recorded
from data_recipes.errors import Refused
from data_recipes.records import BadRow

REPLAY = "replay:"
CHUNK = 4  # batches between two writes of the log: what a kill may lose


def open_generator(text: str, *, how: dict | None = None, batch_size: int = 8,
                   endpoint: Settings | None = None) -> Generator:
    """What `--generator` and `--judge` name.

    Args:
        text: RUN, DIR or hub id; http(s)://HOST/v1#MODEL; or replay:FILE (replay:FILE#NAME).
        how: `models.Loading` arguments, for a local model.

    Raises:
        Refused: nothing of that name, a run that is not completed, a reward run, an address without model.
    """
    if text.startswith(REPLAY):
        file, _, name = text.removeprefix(REPLAY).partition("#")
        return Recorded(Path(file).expanduser(), name)
    if is_url(text):
        return Endpoint(text, endpoint or Settings())
    return LocalModel(text, how or {}, batch_size)


class LocalModel:
    """A policy on this machine; its weights are loaded when the first question comes."""

    def __init__(self, text: str, how: dict, batch_size: int) -> None:
        self.source, self.how, self.batch_size = finished(resolve(text)), how, batch_size
        check_policy(self.source)
        base = how.get("base")
        check_base(self.source, base_of(self.source, base=base))
        loading = {key: how[key] for key in ("dtype", "quantisation") if key in how}
        self.identity: dict[str, Any] = {"name": text, **identity(self.source, base=base), **loading}
        self._loaded: Any = None

    def complete(self, requests: Iterable[Request]) -> Iterator[tuple[int, Answer]]:
        """Some batches at a time, so that each can be logged before the next."""
        source = enumerate(requests)
        while chunk := list(islice(source, CHUNK * self.batch_size)):
            chunk.sort(key=lambda one: repr(one[1].sampling))
            for _, same in groupby(chunk, key=lambda one: one[1].sampling):
                yield from self._answers(list(same))

    def close(self) -> None:
        """Lets the weights go: the next model needs the room."""
        self._loaded = None
        gc.collect()

    def _answers(self, asked: list[tuple[int, Request]]) -> Iterator[tuple[int, Answer]]:
        """One call of `generate` for questions that are drawn alike; those without room are refused one by one."""
        from alignment.generation.batched import generate

        if self._loaded is None:
            self._loaded = _load(self.source, self.how)
        renderer = self._loaded.renderer(max_length=None)
        fitting: list[tuple[int, Request, list[int]]] = []
        for number, request in asked:
            ids, fault = self._prompt(renderer, request)
            if fault:
                yield number, Answer(refused=fault)
            else:
                fitting.append((number, request, ids))
        if not fitting:
            return
        how = fitting[0][1].sampling
        made = generate(
            self._loaded, [ids for _, _, ids in fitting], max_new_tokens=how.max_new_tokens,
            temperature=how.temperature, top_p=how.top_p, top_k=how.top_k,
            seed=[request.seed for _, request, _ in fitting], batch_size=self.batch_size, renderer=renderer,
        )
        for (number, _, ids), done in zip(fitting, made, strict=True):
            yield number, Answer(done.text, done.stopped, len(ids), done.tokens)

    def _prompt(self, renderer: Any, request: Request) -> tuple[list[int], str]:
        """Token ids, and why the model does not take them: its template refuses the messages, or its context is full."""
        from alignment.generation.batched import context_length

        try:
            ids = renderer.prompt([dict(turn) for turn in request.messages])
        except BadRow as bad:
            return [], f"{bad.reason}: {bad.detail}"
        context = context_length(self._loaded.model)
        if context is not None and len(ids) >= context:
            return [], f"the prompt has {len(ids)} tokens, and the model's context is {context}"
        return ids, ""


def check_policy(source: Source) -> None:
    """Raises Refused for a reward run, told from its files alone; whole models are told apart on loading."""
    from alignment.generation.candidates import is_reward

    if is_reward(source):
        raise Refused("a reward model scores answers and gives none", where=source.text, expected="a policy")


def _load(source: Source, how: dict) -> Any:
    from alignment.models import load_policy

    return load_policy(source, **how)
