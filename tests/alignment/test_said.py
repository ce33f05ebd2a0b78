"""What the reader noted about rows is said before they are trained, not only kept in the manifest."""

from __future__ import annotations

import json

from alignment import classify, sft
from alignment.cli import run
from alignment.cli.progress import Ui
from tests import tiny
from tests.alignment.labelling.worlds import world


class Listening(Ui):
    def __init__(self):
        super().__init__(quiet=True)
        self.said: list[str] = []

    def say(self, text):
        self.said.append(text)


def test_a_stage_and_data_show_say_what_was_noted(tmp_path, capsys):
    base, file = tiny.save_base(tmp_path / "base"), tmp_path / "rows.jsonl"
    row = {**tiny.demonstrations(1)[0], "topic": "orders"}
    row["messages"][1]["weight"] = 0
    file.write_text("\ufeff" + "".join(json.dumps(each) + "\n" for each in [row, row, *tiny.demonstrations(3)[1:]]), "utf-8")
    ui = Listening()
    sft(model=base, data=file, output=tmp_path / "run", dry_run=True, ui=ui)
    assert run(["data", "show", str(file), "--model", str(base)]) == 0
    shown = " ".join(capsys.readouterr().err.split())
    for noted in ("1 rows repeat an earlier row", "columns kept beside the rows and not trained on: topic",
                  "fields of messages without a meaning here, left out: weight", "byte order mark"):
        assert any(noted in line for line in ui.said) and noted in shown, noted
    assert "trained tokens" in shown and "all rows" in shown


def test_a_classifier_says_it_too(tmp_path):
    files, ui = world(tmp_path), Listening()
    classify(model=files["base"], data=files["rows"], output=tmp_path / "run", dry_run=True, ui=ui)
    assert "columns kept beside the rows and not trained on: place" in ui.said
