"""What is converted there and back is equal; what cannot be is refused; counts add up; the same bytes each time."""

import gzip
import hashlib
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from data_recipes import formats
from data_recipes.convert import convert, plan
from data_recipes.errors import Refused
from data_recipes.layouts import CANONICAL, LAYOUTS, canonical, check, encoded, to_row
from data_recipes.ledger import Ledger
from data_recipes.readers import Reading, read, stream
from data_recipes.records import BadRow, Comparison, Demonstration, Labelled, Message, Prompt, Text, Unpaired
from tests.docs_pages import blocks

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
WORDS = ["a", "Hi there", " spaced ", "line\nbreak", "\u2028", "é\u0301", "\n\nHuman: me?", "{\"a\": 1}", "\u202eturned", "💙",
         "1e5", "0"]
CALL = {"type": "function", "function": {"name": "find", "arguments": {"order": 17, "deep": [{"a": None}]}}}
TOOLS = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]


def written(path: Path, *rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def converted(path: Path, to: str, output: Path | None = None, how: Reading | None = None, **more):
    return convert(plan([str(path)], to, how or Reading()), output, **more)


# -------------------------------------------------------------------------------------------------------- there and back


def chat(rng, *, tools=False) -> tuple[Message, ...]:
    turns = [Message("system", rng.choice(WORDS[:3]))] if rng.random() < 0.3 else []
    for _ in range(rng.randrange(3)):
        turns += [Message("user", words(rng)), *called(rng, tools), Message("assistant", words(rng), thinking=thought(rng))]
    return (*turns, Message("user", words(rng)))


def called(rng, tools: bool) -> list[Message]:
    if not tools or rng.random() < 0.5:
        return []
    names = {"name": "find", **({"tool_call_id": "c1"} if rng.random() < 0.5 else {})}
    call = {**CALL, "id": "c1"} if "tool_call_id" in names else CALL
    return [Message("assistant", rng.choice(["", "let me see"]), (call,)), Message("tool", words(rng), **names)]


def thought(rng) -> str | None:
    return "hm" if rng.random() < 0.1 else None


def words(rng) -> str:
    return "".join(rng.choice(WORDS) for _ in range(rng.randint(1, 3))) + "."


def answer(rng) -> tuple[Message, ...]:
    return (Message("assistant", words(rng)),)


def record_of(kind: str, rng):
    extra = {name: rng.choice([1, 2.5, None, "x", [1, {"a": "b"}], True]) for name in rng.sample(["id", "source", "text"], 1)}
    tools = TOOLS if rng.random() < 0.3 else None
    made = {
        "demonstrations": lambda: Demonstration(chat(rng, tools=True) + answer(rng), tools, "", extra),
        "comparisons": lambda: Comparison(chat(rng), answer(rng), (Message("assistant", "other " + words(rng)),), tools,
                                          rng.choice([None, 0.5, 2.0]), "", extra),
        "prompts": lambda: Prompt(chat(rng, tools=True), tools, "", extra),
        "unpaired": lambda: Unpaired(chat(rng), answer(rng), rng.random() < 0.5, tools, "", extra),
        "labelled": lambda: Labelled(words(rng), rng.choice(["x", 3, 0.25, True, ("a", 1), ()]),
                                     rng.choice([None, "second"]), "", {"id": 1}),
    }
    return made[kind]()


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=lambda layout: layout.name)
def test_what_is_written_is_read_as_it_was_or_not_written(layout, tmp_path):
    rng = random.Random(layout.name)
    records = [Text(words(rng), "", {"id": 1}) if layout.name == "text" else record_of(layout.kind, rng) for _ in range(150)]
    kept = [record for record in records if _writes(record, layout)]
    assert len(kept) > len(records) * (0.03 if layout.name in ("alpaca", "hh", "sharegpt") else 0.5)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"".join(encoded(to_row(record, layout)) for record in kept))
    found = read(path, layout.kind, format=layout.format)
    assert [replace(record, where="") for record in found] == kept and not found.ledger.rejected
    assert {source["format"] for source in read(path, layout.kind).ledger.sources} == {layout.format}


def _writes(record, layout) -> bool:
    try:
        check(record, layout)
    except BadRow as error:
        assert error.reason in ("cannot-write", "column-clash")
        return False
    return True


@pytest.mark.parametrize("layout, record, reason", [
    ("alpaca", Demonstration((Message("user", "a"), Message("assistant", "", (CALL,)), Message("tool", "b"),
                              Message("assistant", "c"))), "cannot-write"),
    ("hh", Comparison((Message("system", "s"), Message("user", "a")), (Message("assistant", "b"),),
                      (Message("assistant", "c"),)), "cannot-write"),
    ("hh", Comparison((Message("user", "a\n\nHuman: b"),), (Message("assistant", "b"),), (Message("assistant", "c"),)),
     "cannot-write"),
    ("preference", Comparison((Message("user", "a"),), (Message("assistant", "b", thinking="t"),),
                              (Message("assistant", "c"),)), "cannot-write"),
    ("messages", Text("prose"), "cannot-write"),
    ("messages", Demonstration((Message("user", "a"), Message("assistant", "b")), extra={"text": "x"}), "column-clash"),
    ("messages", Demonstration((Message("user", "a"), Message("assistant", "b")), extra={"messages": "x"}), "column-clash"),
    ("prompts", Prompt((Message("user", "a"),), extra={"system": "s"}), "cannot-write"),
])
def test_what_a_layout_has_no_place_for_is_refused(layout, record, reason):
    with pytest.raises(BadRow) as caught:
        check(record, LAYOUTS[layout])
    assert caught.value.reason == reason


ROUNDS = [
    ("alpaca_en_999.json", ("messages", "alpaca", "sharegpt", "prompt-completion"), "demonstrations", 0),
    ("toolcall_sharegpt_300.json", ("messages", "sharegpt"), "demonstrations", 0),
    ("dpo_sharegpt_300.json", ("pairs", "preference", "sharegpt-pair", "conversations-pair"), "comparisons", 0),
    ("hh_harmless_1500.jsonl.gz", ("pairs", "hh"), "comparisons", 8),
    ("kto_messages_300.json", ("kto", "kto-messages"), "unpaired", 0),
    ("mt_bench_questions_80.jsonl", ("prompts",), "prompts", 0),
]


@pytest.mark.parametrize("name, layouts, kind, bad", ROUNDS, ids=lambda value: value if isinstance(value, str) else "")
def test_published_files_there_and_back(name, layouts, kind, bad, tmp_path):
    if not (DATA / name).is_file():
        pytest.skip(f"{name} is not here")
    source = read(DATA / name, kind)
    before, path = [replace(record, where="") for record in source], DATA / name
    for number, layout in enumerate(layouts):
        output = tmp_path / f"{number}-{layout}.jsonl"
        made = converted(path, layout, output, max_rejected=0.01)
        assert made.ledger.refused == (bad if number == 0 else 0)
        assert [replace(record, where="") for record in read(output, kind)] == before
        path = output


EXAMPLES = [block for block in blocks("json") if len(block.words) == 3]


@pytest.mark.parametrize("block", EXAMPLES, ids=lambda block: "-".join(block.words[1:]))
def test_every_documented_format_is_the_same_after_conversion(block, tmp_path):
    (tmp_path / "rows.jsonl").write_text(block.text, encoding="utf-8")
    _, kind, form = block.words
    layout = canonical(kind, form)
    converted(tmp_path / "rows.jsonl", layout.name, tmp_path / "out.jsonl", Reading(form))
    before, after = read(tmp_path / "rows.jsonl", kind, format=form), read(tmp_path / "out.jsonl", kind)
    assert before.records and after.ledger.sources[0]["format"] == layout.format
    found, given = ([_bare(record) for record in rows] for rows in (after, before))
    assert found == given


def _bare(record):
    """Prompts made of chats keep the answer under different names by the way they come; the rest must be equal."""
    return replace(record, where="", extra={} if isinstance(record, Prompt) else record.extra)


def test_hh_real_rows_become_pairs_with_prompt_and_the_refused_are_counted(tmp_path):
    if not (DATA / "hh_harmless_1500.jsonl.gz").is_file():
        pytest.skip("hh_harmless_1500.jsonl.gz is not here")
    made = converted(DATA / "hh_harmless_1500.jsonl.gz", "auto", tmp_path / "pairs.jsonl", max_rejected=0.01)
    assert made.ledger.rejected == {"bad-order": 3, "empty-text": 4, "prompt-conflict": 1}
    assert made.ledger.totals()["rows"] == {"read": 1500, "used": 1492, "refused": 8, "passed": 0}
    rows = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 1492 and all(row["prompt"][-1]["role"] == "user" for row in rows)
    assert len(made.rejected.read_text(encoding="utf-8").splitlines()) == 8


# --------------------------------------------------------------------------------------------------------- one into other

PAIR = {"prompt": "Hi", "chosen": "Hello", "rejected": "Go away", "margin": 2, "id": 7}
USER, ANSWER = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}


@pytest.mark.parametrize("row, to, expected", [
    (PAIR, "messages", [{"messages": [USER, ANSWER], "id": 7, "margin": 2.0}]),
    (PAIR, "prompts", [{"prompt": [USER], "id": 7, "margin": 2.0}]),
    ({**PAIR, "margin": None}, "kto", [
        {"prompt": [USER], "completion": [ANSWER], "label": True, "id": 7},
        {"prompt": [USER], "completion": [{**ANSWER, "content": "Go away"}], "label": False, "id": 7}]),
    ({"messages": [USER, ANSWER], "label": True}, "prompt-completion", [{"prompt": [USER], "completion": [ANSWER]}]),
    ({"instruction": "Hi", "output": "Hello"}, "prompts", [{"prompt": [USER], "completion": "Hello"}]),
    ({"prompt": "Hi", "completion": "Hello", "label": True}, "prompts", [{"prompt": [USER]}]),
    ({"text": "prose"}, "auto", [{"text": "prose"}]),
])
def test_one_kind_from_another(tmp_path, row, to, expected):
    converted(written(tmp_path / "rows.jsonl", row), to, tmp_path / "out.jsonl")
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == expected


def test_bad_answers_are_no_demonstrations_and_are_counted(tmp_path):
    rows = [{"prompt": f"Q{n}", "completion": f"A{n}", "label": n % 3 == 0} for n in range(9)]
    made = converted(written(tmp_path / "rows.jsonl", *rows), "messages")
    assert made.ledger.kept == 3 and made.ledger.passed == {"called-bad": 6}
    assert made.ledger.totals()["rows"] == {"read": 9, "used": 3, "refused": 0, "passed": 6}


def test_ranked_answers_give_one_demonstration_and_one_prompt(tmp_path):
    completions = [{"response": f"A{n}", "overall_score": n} for n in range(4)]
    path = written(tmp_path / "rows.jsonl", {"instruction": "Q", "completions": completions})
    assert converted(path, "messages").first["messages"][-1]["content"] == "A3"
    assert [converted(path, to).ledger.kept for to in ("pairs", "messages", "prompts", "kto")] == [6, 1, 1, 2]
    assert converted(path, "kto", how=Reading(ranked="all")).ledger.kept == 12


@pytest.mark.parametrize("row, to, message", [
    ({"messages": [USER, ANSWER]}, "pairs", "These rows are demonstrations, not comparisons"),
    (PAIR, "labels", "These rows are comparisons, not labelled"),
    ({"text": "a", "label": 1}, "prompts", "These rows are labelled, not prompts"),
    ({"foo": 1}, "auto", "neither demonstrations nor pairs"),
])
def test_what_cannot_become_the_other_is_refused(tmp_path, row, to, message):
    with pytest.raises(Refused, match=message):
        plan([str(written(tmp_path / "rows.jsonl", row))], to, Reading())


def test_files_of_different_kinds_need_a_word(tmp_path):
    one, two = written(tmp_path / "a.jsonl", PAIR), written(tmp_path / "b.jsonl", {"messages": [USER, ANSWER]})
    with pytest.raises(Refused, match="a.jsonl: pairs; .*b.jsonl: messages"):
        plan([str(one), str(two)], "auto", Reading())
    made = convert(plan([str(one), str(two)], "messages", Reading()), None)
    assert made.ledger.kept == 2 and [source["format"] for source in made.ledger.sources] == ["preference", "messages"]


def test_a_format_may_be_said_where_two_fit(tmp_path):
    path = written(tmp_path / "rows.jsonl", {"messages": [USER, ANSWER], "text": "prose"})
    with pytest.raises(Refused, match="several formats: messages, text.*--format"):
        plan([str(path)], "messages", Reading())
    assert converted(path, "auto", how=Reading("text", rename=(("messages", ""),))).first == {"text": "prose"}
    assert converted(path, "auto", how=Reading("messages", rename=(("text", ""),))).first == {"messages": [USER, ANSWER]}
    with pytest.raises(Refused, match="Did you mean messages?"):
        plan([str(path)], "auto", Reading("mesages"))
    tree = {"message_tree_id": "t", "prompt": {"message_id": "t", "role": "prompter", "text": "Q", "replies": []}}
    with pytest.raises(Refused, match="can be read as demonstrations, comparisons, prompts"):
        plan([str(written(path, tree))], "auto", Reading("oasst-tree"))


# --------------------------------------------------------------------------------------------------------------- files


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_gzip_and_parquet_give_the_rows_of_the_plain_file(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [{"messages": [{"role": "user", "content": f"Q{n}"}, ANSWER], "id": n} for n in range(3)]
    plain, packed, columns = written(tmp_path / "a.jsonl", *rows), tmp_path / "b.jsonl.gz", tmp_path / "c.parquet"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    parquet.write_table(pyarrow.Table.from_pylist(rows), columns)
    for number, path in enumerate((plain, packed, columns)):
        converted(path, "auto", tmp_path / f"out{number}.jsonl")
    assert len({digest(tmp_path / f"out{number}.jsonl") for number in range(3)}) == 1
    assert [json.loads(line) for line in (tmp_path / "out2.jsonl").read_text().splitlines()] == rows


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
def test_the_same_command_gives_the_same_bytes_and_says_so(tmp_path, name):
    path, output = written(tmp_path / "rows.jsonl", PAIR), tmp_path / name
    assert converted(path, "auto", output).state == "written"
    first = digest(output)
    assert converted(path, "auto", output).state == "unchanged" and digest(output) == first
    written(path, PAIR, {**PAIR, "id": 8})
    with pytest.raises(Refused, match="--overwrite"):
        converted(path, "auto", output)
    assert digest(output) == first
    assert converted(path, "auto", output, overwrite=True).state == "written" and digest(output) != first
    assert sorted(item.name for item in tmp_path.iterdir()) == [name, "rows.jsonl"]


def test_bad_rows_stop_it_are_listed_and_leave_no_output(tmp_path):
    path = written(tmp_path / "rows.jsonl", PAIR, {**PAIR, "chosen": ""}, PAIR)
    with pytest.raises(Refused, match=r"rows.jsonl:2: 1 of 3 rows .*out.jsonl.rejected.jsonl.*--max-rejected 0.334"):
        converted(path, "auto", tmp_path / "out.jsonl")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["out.jsonl.rejected.jsonl", "rows.jsonl"]
    made = converted(path, "auto", tmp_path / "out.jsonl", max_rejected=0.5)
    assert made.rejected.name == "out.jsonl.rejected.jsonl" and made.ledger.kept == 2
    written(path, PAIR)
    assert converted(path, "auto", tmp_path / "out.jsonl", overwrite=True).rejected is None
    assert sorted(item.name for item in tmp_path.iterdir()) == ["out.jsonl", "rows.jsonl"]


def test_rows_that_cannot_be_written_are_refused_and_add_up(tmp_path):
    rows = [PAIR, {**PAIR, "prompt": [{"role": "system", "content": "s"}, USER]}, {**PAIR, "prompt": ""}]
    made = converted(written(tmp_path / "rows.jsonl", *rows), "hh", tmp_path / "out.jsonl", max_rejected=1.0)
    assert made.ledger.rejected == {"cannot-write": 1, "empty-text": 1}
    assert made.ledger.totals()["rows"] == {"read": 3, "used": 1, "refused": 2, "passed": 0}
    listed = [json.loads(line) for line in made.rejected.read_text().splitlines()]
    assert [row["where"].rpartition(":")[2] for row in listed] == ["2", "3"] and listed[0]["row"]["prompt"]


def test_a_dry_run_writes_nothing_and_wrong_outputs_are_refused(tmp_path):
    path = written(tmp_path / "rows.jsonl", PAIR)
    assert converted(path, "auto").state == "dry-run" and [item.name for item in tmp_path.iterdir()] == ["rows.jsonl"]
    with pytest.raises(Refused, match="one of the files that are read"):
        converted(path, "auto", path)
    with pytest.raises(Refused, match="does not say JSON lines"):
        converted(path, "auto", tmp_path / "out.csv")


def test_all_other_columns_can_be_left_out(tmp_path):
    path = written(tmp_path / "rows.jsonl", PAIR)
    made = convert(plan([str(path)], "pairs", Reading(), bare=True), None)
    assert list(made.first) == ["prompt", "chosen", "rejected", "margin"]


def test_a_long_file_is_streamed(tmp_path):
    """A record is given out before the next row is looked at."""
    path = written(tmp_path / "rows.jsonl", *({**PAIR, "prompt": f"Q{n}"} for n in range(300)))
    ledger, how = Ledger(), plan([str(path)], "pairs", Reading())[0].how
    assert [ledger.kept for _ in stream(str(path), "comparisons", ledger, how)] == list(range(1, 301))


def test_every_kind_has_a_canonical_layout_that_is_detected():
    assert set(CANONICAL) == set(formats.KINDS) and set(CANONICAL.values()) <= set(LAYOUTS)
    rng = random.Random(0)
    for kind, name in CANONICAL.items():
        rows = []
        while len(rows) < 5:
            record = record_of(kind, rng)
            if _writes(record, LAYOUTS[name]) and "text" not in record.extra:
                rows.append(to_row(record, LAYOUTS[name]))
        assert formats.detect_kind(rows)[:2] == (kind, LAYOUTS[name].format)
