"""The log of questions and answers: append-only, addressed by content, and a generator that replays it.

One JSON object a line: key, generator, request, answer. Each line is on the disk before the next question's answer is
used, so a kill loses at most what was on its way; a last line that a kill cut is dropped on opening.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data_recipes.augment.generator import Answer, Request
from data_recipes.errors import Refused

KEPT = ("text", "stopped", "prompt_tokens", "completion_tokens", "refused")


class RequestLog:
    """Answers by the key of their question; without a path in memory only.

    Raises:
        Refused: a line that is none of ours, which only a hand can have put there.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path, self.answers = path, {}
        self.prompt_tokens = self.completion_tokens = 0
        for line in read_lines(path) if path is not None and path.exists() else ():
            self._take(line["key"], line["answer"])
        if path is not None and path.exists():
            _cut_partial_line(path)

    def get(self, key: str) -> Answer | None:
        """The logged answer."""
        return self.answers.get(key)

    def add(self, identity: dict, request: Request, answer: Answer) -> None:
        """Puts an answer on the disk; it counts from then on."""
        key = request.key(identity)
        kept = {name: value for name, value in asdict(answer).items() if name in KEPT}
        self._write({"key": key, "generator": identity, "request": request.as_dict(), "answer": kept})
        self._take(key, kept)

    def _take(self, key: str, kept: dict) -> None:
        self.answers[key] = Answer(**kept, attempts=0)
        self.prompt_tokens += kept["prompt_tokens"]
        self.completion_tokens += kept["completion_tokens"]

    def _write(self, line: dict) -> None:
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # "replace": a lone surrogate in a model's answer must not end the work; JSON could not carry it anyway
        data = (json.dumps(line, ensure_ascii=False) + "\n").encode("utf-8", "replace")
        with open(self.path, "ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


class Recorded:
    """A generator that answers from a log and asks nobody; its rows are those of the generator that was recorded.

    Args:
        name: which generator's answers, where the file holds those of several.

    Raises:
        Refused: nothing is recorded there, or several generators are and none was named.
    """

    def __init__(self, path: Path, name: str = "") -> None:
        if not path.is_file():
            raise Refused("there is no such recording", where=path, expected="a file FILE.requests.jsonl")
        lines = list(read_lines(path))
        names = dict.fromkeys(line["generator"]["name"] for line in lines)
        if not lines or (name or next(iter(names))) not in names or (len(names) > 1 and not name):
            raise Refused(
                f"the file holds answers of {len(names)} generators" + (f", none called '{name}'" if name else ""),
                where=path,
                expected=f"one, or replay:FILE#NAME with one of {', '.join(names) or 'none'}",
            )
        lines = [line for line in lines if line["generator"]["name"] == (name or next(iter(names)))]
        self.path, self.identity = path, lines[-1]["generator"]
        self.answers = {line["key"]: Answer(**line["answer"]) for line in lines}

    def complete(self, requests: Iterable[Request]) -> Iterator[tuple[int, Answer]]:
        """Raises Refused for a question that was never asked."""
        for number, request in enumerate(requests):
            found = self.answers.get(request.key(self.identity))
            if found is None:
                said = str(request.messages[-1].get("content"))[:80]
                raise Refused(
                    f"the recording has no answer to the question that ends with {said!r}",
                    where=self.path,
                    expected="the rows, the recipe, the settings and the seed that were recorded",
                )
            yield number, found


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a log. Raises Refused where one is not a log's."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if line.endswith(b"\n"):
                yield _read_line(line, f"{path}:{number}")


def _read_line(line: bytes, where: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
        Answer(**found["answer"])
        found["key"], found["generator"]["name"], found["request"]["messages"]
    except (ValueError, TypeError, KeyError) as error:
        raise Refused(
            f"this is no line of a request log ({type(error).__name__}: {error})",
            where=where,
            expected="key, generator, request and answer",
            do="Take the line out, or move the file away to ask everything anew",
        ) from error
    return found


def _cut_partial_line(path: Path) -> None:
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        with open(path, "r+b") as file:
            file.truncate(whole)
