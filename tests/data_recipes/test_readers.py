"""The reader's promises: the same outcome wherever a row stands, every row in the ledger, nothing converted."""

import json
import random
import subprocess
import sys

import pytest

from data_recipes.errors import Refused
from data_recipes.readers import iter_rows, read

GOOD = [{"messages": [{"role": "user", "content": f"Question {n}"}, {"role": "assistant", "content": f"Answer {n}"}]}
        for n in range(115)]
PAIRS = [{"prompt": f"Question {n}", "chosen": f"Yes {n}", "rejected": f"No {n}"} for n in range(115)]
PLACES = [0, 57, 110, 115]  # first, middle, beyond the rows that tell the format, last


def chat(*turns) -> bytes:
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in turns]}).encode()


def pair(**fields) -> bytes:
    return json.dumps({"prompt": "Which?", "chosen": "This", "rejected": "That", **fields}).encode()


def lines(rows) -> list[bytes]:
    return [json.dumps(row).encode() for row in rows]


def written(path, rows: list[bytes]):
    path.write_bytes(b"\n".join(rows) + b"\n")
    return path


BAD_CHATS = {
    "bad-json": [b"garbage", b"{", b'{"messages": ', chat(("user", "a"), ("assistant", "b"))[:-5], b"{'messages': []}",
                 b"[" * 5000, b'{"a":' * 5000 + b"1" + b"}" * 5000, b'{"a": 1} {"b": 2}', b'{"a": "\x01"}',
                 b'{"messages": [], "id": ' + b"[" * 150 + b"]" * 150 + b"}", b'{"id": ' + b"9" * 5000 + b"}"],
    "duplicate-key": [b'{"messages": [], "messages": []}', b'{"messages": [{"role": "user", "role": "user"}]}'],
    "not-finite": [b'{"messages": [], "score": NaN}', b'{"messages": [], "score": -Infinity}', b'{"score": 1e999}'],
    "bad-encoding": [b'{"messages": "caf\xe9"}', b'{"messages": "\\ud800"}', b'{"messages": "a\\u0000b"}',
                     b'{"a": "\x00"}', b'{"\\udc00": 1}', b"\xff\xfe\x00"],
    "missing-field": [b"{}", b'{"message": []}', b'{"messages": [{"content": "a"}]}',
                      b'{"messages": [{"role": "user"}]}'],
    "wrong-type": [b"[]", b"5", b'"text"', b"null", b'{"messages": "a"}', b'{"messages": null}', b'{"messages": [1]}',
                   chat(("user", 5), ("assistant", "b")), chat(("user", "a"), ("assistant", {"a": 1}))],
    "bad-role": [chat(("human", "a"), ("assistant", "b")), chat((None, "a"), ("assistant", "b"))],
    "bad-order": [chat(("user", "a")), chat(("assistant", "b")), chat(("user", "a"), ("user", "b"), ("assistant", "c")),
                  chat(("user", "a"), ("system", "s"), ("assistant", "b")), chat(("system", "s"), ("assistant", "b")),
                  chat(("user", "a"), ("tool", "t"), ("assistant", "b"))],
    "empty-text": [chat(("user", ""), ("assistant", "b")), chat(("user", "a"), ("assistant", " \n ")),
                   chat(("user", "a"), ("assistant", None)), b'{"messages": []}'],
    "wrong-format": [b'{"text": "prose"}', b'{"instruction": "a", "output": "b"}'],
}
BAD_PAIRS = {
    "identical-pair": [pair(chosen="That")],
    "empty-text": [pair(chosen=None), pair(rejected=""), pair(prompt=" ")],
    "wrong-type": [pair(chosen=5), pair(margin="much"), pair(prompt=True)],
    "missing-field": [b'{"prompt": "a", "chosen": "b"}'],
    "wrong-format": [pair(chosen=[{"role": "assistant", "content": "a"}])],
    "not-finite": [pair(margin=1)[:-2] + b"NaN}"],
}
MATRIX = [
    (kind, good, reason, bad)
    for kind, good, table in (("demonstrations", GOOD, BAD_CHATS), ("comparisons", PAIRS, BAD_PAIRS))
    for reason, rows in table.items()
    for bad in rows
]
NAMES = [f"{kind[:5]}-{reason}-{number}" for number, (kind, _, reason, _) in enumerate(MATRIX)]


@pytest.mark.parametrize("kind, good, reason, bad", MATRIX, ids=NAMES)
def test_a_bad_row_is_refused_alone_wherever_it_stands(tmp_path, kind, good, reason, bad):
    for place in PLACES:
        rows = lines(good)
        rows.insert(place, bad)
        found = read(written(tmp_path / f"{place}.jsonl", rows), kind)
        where = f"{tmp_path / f'{place}.jsonl'}:{place + 1}"
        assert found.ledger.rejected == {reason: 1} and found.ledger.rejected_rows[0]["where"] == where
        assert len(found) == found.ledger.kept == len(good) and found.ledger.read == len(good) + 1
        with pytest.raises(Refused, match=reason):
            found.ledger.check(write_to=tmp_path / "private")
        assert json.loads((tmp_path / "private" / "rejected.jsonl").read_text())["where"] == where


def test_a_file_of_one_bad_row_is_refused_for_that_row(tmp_path):
    path = written(tmp_path / "one.jsonl", [b"garbage"])
    with pytest.raises(Refused, match="bad-json"):
        read(path, "demonstrations").ledger.check(1.0)


def test_blank_lines_and_marks_are_noted_and_are_no_rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n\r\n".join(lines(GOOD[:3])) + b"\n \n")
    found = read(path, "demonstrations")
    assert [record.where.rpartition(":")[2] for record in found] == ["1", "3", "5"] and found.ledger.rejected == {}
    assert any("byte order mark" in note for note in found.ledger.notes)
    assert any("3 blank lines" in note for note in found.ledger.notes)


def test_a_last_line_without_newline_is_a_row_if_it_parses(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(lines(GOOD[:2])))
    assert len(read(path, "demonstrations")) == 2
    path.write_bytes(b"\n".join(lines(GOOD[:2]))[:-3])
    assert read(path, "demonstrations").ledger.rejected == {"bad-json": 1}


def test_dates_numbers_and_odd_separators_stay_as_they_are(tmp_path):
    rows = [{"prompt": f"2024-01-0{n}", "completion": "12:30\u2028next", "day": "2024-01-01"} for n in range(1, 5)]
    encoded = [json.dumps(row, ensure_ascii=False).encode() for row in rows]
    found = read(written(tmp_path / "rows.jsonl", encoded), "demonstrations")
    assert found.records[0].messages[0].content == "2024-01-01"
    assert found.records[0].messages[1].content == "12:30\u2028next" and found.records[0].extra == {"day": "2024-01-01"}


def test_duplicates_contradictions_and_columns_are_noted_not_refused(tmp_path):
    turned = {"prompt": "Question 0", "chosen": "No 0", "rejected": "Yes 0", "id": 5}
    found = read(written(tmp_path / "rows.jsonl", lines([PAIRS[0], PAIRS[0], turned])), "comparisons")
    notes = " ".join(found.ledger.notes)
    assert len(found) == 3 and "1 rows repeat" in notes and "1 pairs say the opposite" in notes and "id" in notes


def test_several_files_each_with_its_own_format(tmp_path):
    one = written(tmp_path / "one.jsonl", lines(GOOD[:2]))
    two = written(tmp_path / "two.jsonl", [b'{"instruction": "a", "output": "b"}'])
    found = read([one, two], "demonstrations")
    assert [source["format"] for source in found.ledger.sources] == ["messages", "alpaca"]
    assert [source["rows"] for source in found.ledger.sources] == [2, 1] and len(found) == 3
    assert json.loads(json.dumps(found.ledger.totals()))["sources"][0]["path"] == str(one)


def test_the_format_may_be_said(tmp_path):
    path = written(tmp_path / "rows.jsonl", [b'{"instruction": "a", "output": "b", "text": "c"}'])
    assert read(path, "demonstrations", format="text").records[0].text == "c"
    assert read(path, "demonstrations", format="alpaca").ledger.sources[0]["why"] == "as data.format says"
    with pytest.raises(Refused, match="data.format"):
        read(path, "demonstrations")
    with pytest.raises(Refused, match="no format 'chat'"):
        read(tmp_path / "not-looked-at.jsonl", "demonstrations", format="chat")


def test_damage_of_one_byte_touches_one_row_and_never_crashes(tmp_path):
    rng, whole = random.Random(0), b"\n".join(lines(GOOD[:20])) + b"\n"
    for number in range(60):
        damaged, at = bytearray(whole), rng.randrange(len(whole))
        damaged[at] = rng.choice([0, 9, 34, 92, 123, 125, 128, 255, rng.randrange(256)])
        path = tmp_path / f"{number}.jsonl"
        path.write_bytes(damaged)
        ledger = read(path, "demonstrations").ledger
        assert ledger.read in (19, 20, 21) and ledger.kept >= 18 and ledger.kept + ledger.refused == ledger.read


def test_iter_rows_streams(tmp_path):
    path = written(tmp_path / "rows.jsonl", [*lines(GOOD[:1]), b"garbage"])
    assert next(iter_rows(path)) == (f"{path}:1", GOOD[0])


def test_an_empty_file_has_no_rows(tmp_path):
    for name, data in (("a.jsonl", b""), ("b.json", b"[]"), ("c.csv", b"text\n"), ("d.jsonl", b"\n\n"), ("e.csv", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(Refused, match="there are no rows"):
            read(tmp_path / name, "demonstrations").ledger.check(1.0)


def test_reading_imports_nothing_heavy():
    heavy = "torch transformers datasets trl peft evaluate pyarrow pandas numpy"
    code = f"import sys, data_recipes.readers, data_recipes.split; print(set({heavy.split()}) & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
