"""`align classify predict`: new rows in, the same rows with labels out. Rows stream; the file appears once it is complete."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from data_recipes import files, tagging
from data_recipes.errors import Refused
from data_recipes.formats.judged import TEXTS
from data_recipes.formats.tagged import WORDS
from data_recipes.labels import Problem
from data_recipes.ledger import Ledger, write_rejected
from data_recipes.origins import resolve as resolve_data
from data_recipes.records import BadRow, check_text

from alignment.labelling.measures import probabilities

CHUNK = 16  # batches that are read, sorted by length and answered at once
SUFFIXES = {".csv": ",", ".tsv": "\t", ".jsonl": ""}


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line."""

    model: str
    data: str
    output: Path
    text: tuple[str, ...] = ()
    all_classes: bool = False
    threshold: float = 0.5
    batch_size: int = 32
    max_rejected: float = 0.0
    overwrite: bool = False
    how: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Classifier:
    """A loaded classifier: model, tokens, what its outputs are, and how they are calibrated.

    text: the columns that held the text in training; empty where their names are known anyway. pair: whether rows had two
    texts; None where some had and some had not, or nothing says it.
    """

    model: object
    encoder: object
    problem: Problem
    temperature: float = 1.0
    scale: tuple[float, float] = (0.0, 1.0)
    text: tuple[str, ...] = ()
    pair: bool | None = None


def predict(request: Request, ui) -> dict:
    """Labels all rows of a file; returns the counts.

    Raises:
        Refused: the model is no classifier, the output's name says no kind, no column holds a text, or too many rows are bad.
    """
    if request.output.suffix.lower() not in SUFFIXES:
        raise Refused(f"the output's name does not say what to write ({request.output.name})", where="--output",
                      expected=f"a name that ends in {', '.join(SUFFIXES)}")
    origin, ledger = resolve_data(request.data)[0], Ledger(request.max_rejected)
    if origin.path and request.output.exists() and origin.path.samefile(request.output):
        raise Refused("the output is the file that is read", where=request.output, expected="another file")
    classifier = load_classifier(request.model, **request.how)
    ui.say(f"{request.model}: {classifier.problem.task}, {', '.join(classifier.problem.names[:12]) or 'a number'}")
    state = files.write_lines(request.output, _lines(request, classifier, origin, ledger), overwrite=request.overwrite)
    for note in origin.notes:
        ui.say(note)
    ui.say(f"{ledger.kept:,} of {ledger.read:,} rows labelled")
    return {
        "output": str(request.output),
        "state": state,
        "rows": ledger.kept,
        "rejected": dict(sorted(ledger.rejected.items())),
        "task": classifier.problem.task,
        "names": list(classifier.problem.names),
        "temperature": classifier.temperature,
    }


def load_classifier(name: str, **how) -> Classifier:
    """A classify run, or a model folder or hub model with a label head, which is taken as it is.

    Raises:
        Refused: what is named has no label head.
    """
    from alignment.labelling.encoding import Encoder, longest_text
    from alignment.models import load_run, task_of
    from alignment.sources import resolve
    from alignment.tasks import WORDS as SAID

    source = resolve(name)
    task = task_of(source, trust_remote_code=how.get("trust_remote_code", False))
    if not task.has_labels:
        raise Refused(f"this is {SAID[task.name]}", where=name, expected="a run of align classify, or a model with labels")
    loaded = load_run(source, **how)
    kept = (source.manifest or {}).get("classify") or _kept_in_config(loaded, task)
    problem = Problem(kept["task"], tuple(kept["names"]), kept["scheme"])
    limit, _ = longest_text(loaded.tokenizer, loaded.model.config, kept.get("max_length") or loaded.tokenizer.model_max_length)
    text = tuple((kept.get("columns") or {}).get("text", ()))
    return Classifier(loaded.model, Encoder(loaded.tokenizer, limit), problem, kept["temperature"], tuple(kept["scale"]), text,
                      kept.get("pair"))


def _kept_in_config(loaded, task) -> dict:
    """What a model folder says of itself; one from elsewhere has no temperature."""
    from alignment.labelling.heads import KEPT, PROBLEMS

    held = getattr(loaded.model.config, KEPT, None) or {}
    names = {"single_label_classification": "single", **{problem: name for name, problem in PROBLEMS.items()}}
    kind = "token" if task.name == "tokens" else names[task.problem]
    scheme = ("BIO" if tagging.is_bio(task.labels) else "plain") if kind == "token" else ""
    labels = () if kind == "regression" else task.labels
    return {"task": kind, "names": labels, "scheme": scheme, "temperature": 1.0, "scale": (0.0, 1.0), **held}


# ------------------------------------------------------------------------------------------------------------------- rows


def _lines(request: Request, classifier: Classifier, origin, ledger: Ledger) -> Iterator[bytes]:
    """The output's lines; the ledger is checked before the last one counts as written."""
    writer, listed = None, request.output.with_name(f"{request.output.name}.rejected.jsonl")
    columns: tuple[str, ...] | None = request.text or None
    rows = origin.rows()
    while chunk := list(islice(rows, CHUNK * request.batch_size)):
        readable = [row for _, row in chunk if isinstance(row, dict)]
        if readable and columns is None:
            columns = text_columns(readable[0], classifier, origin.name)
        kept, texts = _texts(chunk, columns or (), classifier, ledger)
        if not kept:
            continue
        said = [_apart(answer, row) for answer, row in zip(answers(classifier, texts, request), kept, strict=True)]
        if writer is None:
            writer = Writer(request.output.suffix.lower(), [*kept[0], *said[0]])
            yield from writer.head()
        for row, answer in zip(kept, said, strict=True):
            yield writer.line({**row, **answer})
    if ledger.refused:
        write_rejected(listed, [ledger])
    ledger.check(write_to=listed)


def _apart(answer: dict, row: dict) -> dict:
    """New columns beside those that the row has: a label of its own stays, and what is said is `predicted_label` then."""
    return {f"predicted_{key}" if key in row else key: value for key, value in answer.items()}


def text_columns(row: dict, classifier: Classifier, where: str) -> tuple[str, ...]:
    """The columns of the text: those of training, or those that are known. Raises Refused where there are none."""
    known = [(name,) for name in WORDS] if classifier.problem.task == "token" else []
    fitting = [names for names in TEXTS if classifier.pair is None or classifier.pair == (len(names) == 2)]
    for names in [*([classifier.text] if classifier.text else []), *known, *fitting]:
        if all(row.get(name) is not None for name in names):
            return tuple(names)
    what, usual, do = "the text", "text, sentence, or your own name", "Say which: --text COLUMN."
    if classifier.pair:
        what, usual = "the two texts that this classifier reads", "text and text_pair, or your own names"
        do = "Say which: --text COLUMN --text COLUMN."
    raise Refused(f"no column is known to hold {what} ({', '.join(map(str, list(row)[:12]))})", where=where,
                  expected=", ".join(classifier.text) or usual, do=do)


def _texts(chunk, columns: Sequence[str], classifier: Classifier, ledger: Ledger) -> tuple[list[dict], list]:
    """Rows that can be answered, and what is read of each; the others go to the ledger."""
    kept, texts = [], []
    for where, row in chunk:
        try:
            if isinstance(row, BadRow):
                raise row
            texts.append(_read(row, columns, classifier))
            kept.append(row)
            ledger.kept += 1
        except BadRow as error:
            ledger.reject(where, error.reason, error.detail, error.row if isinstance(row, BadRow) else row)
        ledger.count_rows(1, int(bool(kept) and kept[-1] is row), 1)
    return kept, texts


def _read(row: dict, columns: Sequence[str], classifier: Classifier):
    """A text or a pair, encoded; of words the text and their places."""
    for name in columns:
        if name not in row:
            raise BadRow("missing-field", f"no {name}")
    if classifier.problem.task != "token":
        text, *pair = (check_text(name, row[name]) for name in columns)
        return classifier.encoder.text(text, pair[0] if pair else None)[0]
    value = row[columns[0]]
    if isinstance(value, list) and value and all(isinstance(word, str) and word.strip() for word in value):
        return tagging.places_in(value)
    text = check_text(columns[0], value)
    if not (places := tagging.words_of(text)):
        raise BadRow("empty-text", f"{columns[0]} holds no word")
    return text, places


# ---------------------------------------------------------------------------------------------------------------- answers


def answers(classifier: Classifier, texts: list, request: Request) -> list[dict]:
    """The new columns of each row."""
    from alignment.labelling.answering import answer_words, run

    problem, temperature = classifier.problem, classifier.temperature
    if problem.task == "token":
        said = answer_words(classifier.model, classifier.encoder, problem, texts, batch_size=request.batch_size)
        return [words_answer(problem, text, places, logits / temperature)
                for (text, places), logits in zip(texts, said, strict=True)]
    logits = np.concatenate(run(classifier.model, classifier.encoder, problem, texts, request.batch_size))
    if problem.task == "regression":
        return [{"score": round(value, 6)} for value in (logits[:, 0] * classifier.scale[1] + classifier.scale[0]).tolist()]
    return [text_answer(problem, shares, request) for shares in probabilities(problem, logits / temperature)]


def text_answer(problem: Problem, shares: np.ndarray, request: Request) -> dict:
    """label and probability of a row; of several labels those above the threshold."""
    every = {name: round(float(share), 6) for name, share in zip(problem.names, shares, strict=True)}
    if problem.task == "multi":
        called = {name: share for name, share in every.items() if share >= request.threshold}
        answer = {"labels": list(called), "probabilities": list(called.values())}
    else:
        name = problem.names[int(shares.argmax())]
        answer = {"label": name, "probability": every[name]}
    return {**answer, **({f"probability_{name}": share for name, share in every.items()} if request.all_classes else {})}


def words_answer(problem: Problem, text: str, places, logits: np.ndarray) -> dict:
    """The spans of a text with their places in it, each as sure as its least sure word; or a tag a word."""
    shares = probabilities(problem, logits)
    tags, sure = [problem.names[place] for place in shares.argmax(-1)], shares.max(-1)
    if problem.scheme != "BIO":
        return {"tags": tags}
    return {"entities": [
        {"start": places[span.start][0], "end": places[span.stop - 1][1], "label": span.label,
         "text": text[places[span.start][0] : places[span.stop - 1][1]],
         "probability": round(float(sure[span.start : span.stop].min()), 6)}
        for span in tagging.spans_of(tags)
    ]}


class Writer:
    """Rows as lines of CSV, TSV or JSON; what is no text, number or truth becomes JSON in a table's cell."""

    def __init__(self, suffix: str, columns: Sequence[str]) -> None:
        self.mark, self.columns = SUFFIXES[suffix], list(dict.fromkeys(columns))

    def head(self) -> Iterator[bytes]:
        """The line of names that a table begins with."""
        if self.mark:
            yield self._table(self.columns)

    def line(self, row: dict) -> bytes:
        """One row. A table has the columns of its first row; raises Refused where a row has another one."""
        if not self.mark:
            return (json.dumps(row, ensure_ascii=False) + "\n").encode()
        if strange := sorted(row.keys() - set(self.columns)):
            raise Refused(f"a row has the column '{strange[0]}', which the first one has not, and a table has no place for it",
                          where="--output", expected="a name in .jsonl", do="JSON lines hold rows of any columns.")
        return self._table([self._cell(row.get(name)) for name in self.columns])

    def _table(self, cells: Sequence) -> bytes:
        held = io.StringIO()
        csv.writer(held, delimiter=self.mark, lineterminator="\n").writerow(cells)
        return held.getvalue().encode()

    @staticmethod
    def _cell(value):
        return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value
