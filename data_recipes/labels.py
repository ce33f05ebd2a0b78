"""What labelled rows are asked for: one class, several, a number, or a class for each word; and a row's target.

    single      a name or whole number a row           target: the class's place
    multi       a list of names                        target: the places of the classes that hold
    regression  a number                               target: the number
    token       a list of words and of tags            target: a place a word
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from data_recipes import tagging
from data_recipes.errors import Refused
from data_recipes.formats.base import number
from data_recipes.records import BadRow, Labelled, Tagged

TASKS = ("single", "multi", "regression", "token")
MANY = 30  # classes that are whole numbers; above that they may just as well be scores
LABEL_KEY, NAMES_KEY, TASK_KEY = "classify.label", "classify.labels", "classify.task"

Target = int | float | tuple[int, ...]


@dataclass(frozen=True)
class Problem:
    """What is predicted.

    task: one of `TASKS`. names: the classes in the order of the model's outputs; empty for regression.
    scheme: of token labels, "BIO" for spans or "plain". indices: whether the rows say a class by its place in `names`.
    """

    task: str
    names: tuple[str, ...] = ()
    scheme: str = ""
    indices: bool = False

    @property
    def outputs(self) -> int:
        """How many numbers the head gives."""
        return len(self.names) or 1

    def as_dict(self) -> dict:
        """What a manifest keeps."""
        return {"task": self.task, "names": list(self.names), "scheme": self.scheme}


@dataclass(frozen=True)
class Example:
    """A row with its target and, where a column was named for it, its group."""

    record: Labelled | Tagged
    target: Target
    group: str | None = None

    @property
    def where(self) -> str:
        """The row's place in its file."""
        return self.record.where


def problem_of(records: Sequence[Labelled | Tagged], *, task: str = "auto", names: Sequence[str] = (),
               known: Sequence[str] = ()) -> Problem:
    """What these rows are asked for.

    Args:
        task: one of `TASKS`, or "auto" to tell it from the labels. names: the classes, where they are given.
        known: the classes of a parent; where the rows have the same ones, their order is kept, so that its head fits.

    Raises:
        Refused: labels that are of no task or of several, one class alone, or tags that are of no scheme known here.
    """
    task = _task(records) if task == "auto" else task
    if task == "regression":
        return Problem(task)
    found = _found(records, task)
    indices = bool(names) and not set(found) <= set(names) and _are_indices(found, len(names))
    chosen = tuple(names) or _ordered(found, known)
    _check_names(chosen, given=bool(names), task=task)
    scheme = ("BIO" if tagging.is_bio(chosen) else "plain") if task == "token" else ""
    if scheme == "BIO":
        _check_scheme(chosen)
    return Problem(task, chosen, scheme, indices)


def target_of(record: Labelled | Tagged, problem: Problem) -> Target:
    """The row's target. Raises BadRow: unknown-label, wrong-type, not-finite, wrong-tags."""
    if problem.task == "regression":
        if isinstance(record.label, (bool, tuple)):
            raise BadRow("wrong-type", "the label must be a number")
        return number("the label", record.label)
    if problem.task == "token":
        places = tuple(_place(tag, problem) for tag in record.tags)
        if problem.scheme == "BIO":
            tagging.check_bio([problem.names[place] for place in places])
        return places
    classes = classes_of(record)
    if problem.task == "multi":
        return tuple(sorted({_place(one, problem) for one in classes}))
    if len(classes) != 1:
        raise BadRow("wrong-type", f"the label must be one class, not {len(classes)}")
    return _place(classes[0], problem)


def stratum_of(target: Target, problem: Problem, counts: Counter, bounds: Sequence[float]) -> str:
    """Within what a row is drawn when held-out rows are: its class, of several the rarest, of a number its tenth."""
    if problem.task == "regression":
        return str(sum(target > bound for bound in bounds))
    places = {target} if problem.task == "single" else set(target)
    return str(min(places, key=lambda place: (counts[place], place), default="none"))


def strata_of(examples: Sequence[Example], problem: Problem) -> list[str]:
    """The stratum of each row, see `stratum_of`."""
    targets = [example.target for example in examples]
    if problem.task == "regression":
        ordered = sorted(targets)
        bounds = [ordered[len(ordered) * tenth // 10] for tenth in range(1, 10)]
        return [stratum_of(target, problem, Counter(), bounds) for target in targets]
    counts = Counter(place for target in targets for place in ({target} if problem.task == "single" else set(target)))
    return [stratum_of(target, problem, counts, ()) for target in targets]


def classes_of(record: Labelled) -> list[str]:
    """The classes that a row names, as texts."""
    return [_text(one) for one in (record.label if isinstance(record.label, tuple) else [record.label])]


# ----------------------------------------------------------------------------------------------------------- what they are


def _task(records: Sequence[Labelled | Tagged]) -> str:
    if all(isinstance(record, Tagged) for record in records):
        return "token"
    labels = [record.label for record in records]
    kinds = {type(label) for label in labels}
    if kinds == {tuple}:
        return "multi"
    if tuple in kinds:
        raise Refused("some rows have one label and some a list of labels", where=LABEL_KEY, expected="the same in all rows")
    texts = {_text(label) for label in labels}
    if not all(_is_number(text) for text in texts):
        return "single"
    if not all(text.lstrip("-").isdigit() for text in texts):
        return "regression"
    if len(texts) > MANY:
        raise Refused(f"the labels are {len(texts)} different whole numbers, which may be classes or scores", where=LABEL_KEY,
                      expected="a task", do=f"Say which: --set {TASK_KEY}=single or --set {TASK_KEY}=regression.")
    return "single"


def _found(records: Sequence[Labelled | Tagged], task: str) -> list[str]:
    if task == "token":
        return list({_text(tag): None for record in records for tag in record.tags})
    return list({one: None for record in records for one in classes_of(record)})


def _ordered(found: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """O first, then numbers by size, then names by type and mark; a parent's own order where it has the same ones."""
    if set(found) == set(known):
        return tuple(known)

    def place(name: str):
        mark, dash, rest = name.partition("-")
        typed = (rest, mark) if dash and mark in ("B", "I") else (name, "")
        return (name != tagging.OUTSIDE, not _is_number(name), float(name) if _is_number(name) else 0.0, typed)

    return tuple(sorted(found, key=place))


def _check_names(names: tuple[str, ...], *, given: bool, task: str) -> None:
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Refused(f"the class {twice!r} is named twice", where=NAMES_KEY, expected="each once")
    if len(names) < (1 if task == "multi" else 2):
        what = ", ".join(names) or "none"
        raise Refused(f"the rows have one class alone ({what})" if not given else f"one class alone is named ({what})",
                      where=NAMES_KEY if given else LABEL_KEY, expected="two classes or more")


def _check_scheme(names: tuple[str, ...]) -> None:
    other = [name for name in names if name != tagging.OUTSIDE and not name.startswith(("B-", "I-"))]
    if other:
        named = ", ".join(sorted(other)[:5])
        raise Refused(f"the tags are of no scheme known here ({named} beside B- and I-)", where=LABEL_KEY,
                      expected="IOB2: O, B-TYPE and I-TYPE", do="Rewrite E- and L- as I-, and S- and U- as B-.")
    lone = sorted(name[2:] for name in names if name.startswith("I-") and f"B-{name[2:]}" not in names)
    if lone:
        raise Refused(f"there is an I-{lone[0]} and no B-{lone[0]}: the tags look like IOB1", where=LABEL_KEY,
                      expected="IOB2, where the first word of each span has B-")


def _are_indices(found: Sequence[str], count: int) -> bool:
    return all(name.isdigit() and int(name) < count for name in found)


def _place(name: str | int, problem: Problem) -> int:
    text = _text(name)
    if problem.indices and text.isdigit() and int(text) < len(problem.names):
        return int(text)
    if text not in problem.names or problem.indices:
        raise BadRow("unknown-label", f"the label {text[:40]!r} is none of {', '.join(problem.names)[:200]}")
    return problem.names.index(text)


def _text(label: object) -> str:
    return label.strip() if isinstance(label, str) else str(label).lower() if isinstance(label, bool) else str(label)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.lower().lstrip("+-") not in ("nan", "inf", "infinity")
