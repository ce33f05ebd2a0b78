"""read = kept + rejected, and what is said and written where rows are refused."""

import json

import pytest

from data_recipes.errors import Refused
from data_recipes.ledger import Ledger, write_rejected


def ledger(kept=98, bad=2, **more) -> Ledger:
    made = Ledger(kept=kept, sources=[{"path": "f.jsonl"}], **more)
    for number in range(bad):
        made.reject(f"f.jsonl:{number + 7}", "empty-text", "content is empty", {"text": ""})
    return made


def test_the_sum_always_holds():
    made = ledger()
    assert (made.read, made.kept, made.refused) == (100, 98, 2)
    made.drop("f.jsonl:1", "nothing-to-train-on", "too long")
    assert (made.read, made.kept, made.refused) == (100, 97, 3)
    assert made.totals()["rejected"] == {"empty-text": 2, "nothing-to-train-on": 1}


@pytest.mark.parametrize("share, passes", [(0.0, False), (0.019, False), (0.02, True), (1.0, True)])
def test_a_share_may_pass(share, passes):
    if passes:
        assert ledger().check(share) is None and ledger(max_rejected=share).check() is None
    else:
        with pytest.raises(Refused):
            ledger().check(share)


def test_the_refusal_names_rows_counts_and_the_way_out(tmp_path):
    with pytest.raises(Refused) as caught:
        ledger(bad=7).check(0.0, tmp_path / "private")
    text = str(caught.value)
    assert caught.value.where == "f.jsonl:7"
    assert "7 of 105 rows" in text and "7 empty-text" in text and "and 2 more" in text
    assert "--max-rejected 0.067" in text and str(tmp_path / "private" / "rejected.jsonl") in text
    ledger(bad=7).check(0.067)


def test_all_rejected_rows_are_listed(tmp_path):
    with pytest.raises(Refused):
        ledger().check(0.0, tmp_path / "bad.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text().splitlines()]
    assert rows == [{"where": f"f.jsonl:{n}", "reason": "empty-text", "detail": "content is empty", "row": {"text": ""}}
                    for n in (7, 8)]


def test_any_row_can_be_listed(tmp_path):
    made = ledger(bad=0)
    made.reject("f:1", "bad-encoding", "x", {"text": "\ud800 \0 é", "set": {1}})
    write_rejected(tmp_path / "bad.jsonl", [made, ledger(bad=1)])
    rows = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows[0]["row"]["text"] == "\ud800 \0 é" and len(rows) == 2


def test_nothing_kept_is_refused_whatever_may_pass():
    with pytest.raises(Refused, match="at least one row"):
        ledger(kept=0).check(1.0)
    with pytest.raises(Refused, match="there are no rows"):
        ledger(kept=0, bad=0).check(1.0)
