"""Kinds of files: JSON lists, tables, Parquet, gzip, and what is refused as a whole."""

import csv
import datetime
import decimal
import gzip
import io
import json

import pytest

from data_recipes.errors import Refused
from data_recipes.raw_rows import _lines, iter_rows
from data_recipes.readers import read
from data_recipes.records import BadRow

ROWS = [{"prompt": "Hi", "completion": "Hello, \"you\"\nthere"}, {"prompt": "Où?", "completion": "Là"}]


def reasons(path) -> list[str]:
    return [row.reason if isinstance(row, BadRow) else "good" for _, row in iter_rows(path)]


def places(path) -> list[str]:
    return [where.rpartition(":")[2] for where, _ in iter_rows(path)]


@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_list(tmp_path, indent):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS, indent=indent, ensure_ascii=False), encoding="utf-8")
    assert [row for _, row in iter_rows(path)] == ROWS
    assert places(path) == (["1", "1.2"] if indent is None else ["2", "6"])


@pytest.mark.parametrize("bad, reason", [
    (b'{"a": 1, "a": 2}', "duplicate-key"), (b'{"a": NaN}', "not-finite"), (b'{"a": "\xe9"}', "bad-encoding"),
    (b'{"a": "\\ud800"}', "bad-encoding"), (b"[1]", "wrong-type"),
    (b'{"a": ' + b"[" * 120 + b"]" * 120 + b"}", "bad-json"),
])
def test_a_bad_element_of_a_list_is_refused_alone(tmp_path, bad, reason):
    path = tmp_path / "rows.json"
    for place in range(3):
        rows = [b'{"a": "one"}', b'{"a": "two"}']
        rows.insert(place, bad)
        path.write_bytes(b"[\n" + b",\n".join(rows) + b"\n]")
        assert reasons(path) == ["good"] * place + [reason] + ["good"] * (2 - place)
        assert places(path) == ["2", "3", "4"]


@pytest.mark.parametrize("text", [
    '[{"a": 1}, {"a": 1]', '[{"a": 1} {"a": 1}]', '[{"a": 1},]', '[{"a": 1}', '[{"a": 1}] x', "[", "[,]",
    '[{"a": 1}]]', "[" * 5000,
])
def test_a_broken_list_is_refused_as_a_whole(tmp_path, text):
    (tmp_path / "rows.json").write_text(text)
    with pytest.raises(Refused, match="rows.json:1: the JSON list is broken"):
        list(iter_rows(tmp_path / "rows.json"))


def test_one_object_is_no_list(tmp_path):
    (tmp_path / "rows.json").write_text(json.dumps({"data": ROWS}, indent=1))
    with pytest.raises(Refused, match="one JSON object.*under 'data'"):
        list(iter_rows(tmp_path / "rows.json"))


def test_json_lines_under_the_name_json(tmp_path):
    path, notes = tmp_path / "rows.json", []
    path.write_bytes(b"\xef\xbb\xbf" + b"\n".join(json.dumps(row).encode() for row in ROWS) + b"\ngarbage\n")
    assert [row for _, row in iter_rows(path, notes)][:2] == ROWS and reasons(path)[2] == "bad-json"
    assert any("holds JSON lines" in note for note in notes)


def table(rows, delimiter=",") -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@pytest.mark.parametrize("name, delimiter", [("rows.csv", ","), ("rows.tsv", "\t")])
def test_tables_hold_text_only(tmp_path, name, delimiter):
    rows = [*ROWS, {"prompt": "2024-01-01", "completion": "007"}, {"prompt": "null", "completion": "1e5"}]
    (tmp_path / name).write_text("\ufeff" + table(rows, delimiter), encoding="utf-8", newline="")
    assert [row for _, row in iter_rows(tmp_path / name)] == rows
    assert places(tmp_path / name) == ["2", "4", "5", "6"]
    assert read(tmp_path / name, "demonstrations").records[2].messages[1].content == "007"


@pytest.mark.parametrize("bad, reason", [
    (b"only one", "wrong-columns"), (b"a,b,c", "wrong-columns"), (b'"a" x,b', "bad-csv"),
    (b"caf\xe9,b", "bad-encoding"),
    (b"a\x00,b", "bad-encoding"),
])
def test_a_bad_line_of_a_table_is_refused_alone(tmp_path, bad, reason):
    path = tmp_path / "rows.csv"
    for place in range(3):
        rows = [b"a,b", b"c,d"]
        rows.insert(place, bad)
        path.write_bytes(b"prompt,completion\n" + b"\n\n".join(rows) + b"\n")
        assert reasons(path) == ["good"] * place + [reason] + ["good"] * (2 - place)
        assert places(path) == ["2", "4", "6"]


@pytest.mark.parametrize("text, what", [
    ('prompt,completion\na,"b\nc,d\n', "rows.csv:2: a quoted value"), ("prompt,prompt\na,b\n", "twice"),
    ("prompt,\na,b\n", "without a name"), ("pr\udce9mpt,b\na,b\n", "byte 0xe9 is not UTF-8"),
])
def test_a_table_whose_structure_is_broken(tmp_path, text, what):
    (tmp_path / "rows.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(Refused, match=what):
        list(iter_rows(tmp_path / "rows.csv"))


def test_long_cells_and_margins_in_a_table(tmp_path):
    long = "word " * 40_000
    (tmp_path / "rows.csv").write_text(table([{"prompt": long, "chosen": "a", "rejected": "b", "margin": "0.5"}]))
    found = read(tmp_path / "rows.csv", "comparisons").records[0]
    assert found.prompt[0].content == long and found.margin == 0.5


@pytest.mark.parametrize("name", ["rows.jsonl.gz", "rows.jsonl", "rows.csv.gz", "rows.json.gz"])
def test_gzip_is_seen_from_the_bytes(tmp_path, name):
    text = {"csv": table(ROWS), "json": json.dumps(ROWS)}.get(name.split(".")[1], "\n".join(map(json.dumps, ROWS)))
    (tmp_path / name).write_bytes(gzip.compress(text.encode()))
    assert [row for _, row in iter_rows(tmp_path / name)] == ROWS


def test_damaged_gzip(tmp_path):
    whole = gzip.compress("\n".join(json.dumps({"text": f"row {n}"}) for n in range(2000)).encode())
    for data in (whole[:-20], whole[:30], whole[:40] + b"\0\0\0\0" + whole[44:]):
        (tmp_path / "rows.jsonl.gz").write_bytes(data)
        with pytest.raises(Refused, match="gzip file is damaged"):
            list(iter_rows(tmp_path / "rows.jsonl.gz"))
    (tmp_path / "rows.jsonl.gz").write_bytes(b'{"text": "plain"}')
    with pytest.raises(Refused, match="not gzip"):
        list(iter_rows(tmp_path / "rows.jsonl.gz"))


def test_what_is_refused_by_name_or_first_bytes(tmp_path):
    utf16 = '{"text": "a"}'.encode("utf-16")
    for name, data in (("rows.txt", b"x"), ("rows", b"x"), ("rows.parquet.gz", b"x"), ("rows.jsonl", utf16)):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(Refused):
            list(iter_rows(tmp_path / name))


def test_a_line_without_end_is_skipped_and_the_next_is_read():
    data = io.BytesIO(b"ab\n" + b"x" * 50 + b"\n" + b"12345\n" + b"y" * 11)
    assert list(_lines(data, limit=5)) == [b"ab\n", None, b"12345\n", None]


def test_parquet(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    answer = {"role": "assistant", "content": "Hello", "name": None}
    rows = [{"messages": [{"role": "user", "content": f"Hi {n}"}, answer], "day": datetime.date(2024, 1, 1),
             "price": decimal.Decimal("1.10"), "raw": b"x", "score": 0.5} for n in range(3)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    found = read(tmp_path / "rows.parquet", "demonstrations")
    assert [record.where.rpartition(":")[2] for record in found] == ["1", "2", "3"]
    assert found.records[0].extra == {"day": "2024-01-01", "price": "1.10", "score": 0.5}
    assert any("columns of bytes are left out: raw" in note for note in found.ledger.notes)


def test_fields_that_a_call_has_not_are_not_made_up_by_parquet(tmp_path):
    """A column of structs has each field that any row has: null where a row has none."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")

    def calls(name, arguments):
        call = {"type": "function", "function": {"name": name, "arguments": arguments}}
        messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
        return {"messages": messages, "note": None}

    rows = [calls("weather", {"city": "Rome", "at": {"day": 1}}), calls("stock", {"item": 7})]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    found = read(tmp_path / "rows.parquet", "demonstrations")
    kept = [record.messages[1].tool_calls[0]["function"]["arguments"] for record in found]
    assert kept == [{"city": "Rome", "at": {"day": 1}}, {"item": 7}] and found.records[0].extra == {"note": None}


def test_parquet_with_a_bad_row(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    text = pyarrow.array([b"one", b"caf\xe9", b"a\0b", b"four"]).cast(pyarrow.binary()).view(pyarrow.string())
    parquet.write_table(pyarrow.table({"text": text, "x": [1.0, 2.0, 3.0, float("nan")]}), tmp_path / "rows.parquet")
    assert reasons(tmp_path / "rows.parquet") == ["good", "bad-encoding", "bad-encoding", "not-finite"]


def test_a_damaged_parquet_file(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 and nothing more PAR1")
    with pytest.raises(Refused, match="Parquet"):
        list(iter_rows(tmp_path / "rows.parquet"))
