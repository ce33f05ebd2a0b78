"""Each step on a few rows: one line a case."""

from __future__ import annotations

import inspect
import json

import pytest

from data_recipes.building import row_steps, rows
from data_recipes.building.recipe import checked_recipe
from data_recipes.building.checked import Place
from data_recipes.building.steps import STEPS
from data_recipes.files import write_jsonl
from tests.data_recipes.building.made import built, fates, outputs

LONG = "Your parcel leaves the warehouse in the morning and arrives in Norvale on the second working day after that"
SPANISH = "El paquete sale del almacén por la mañana y llega a la ciudad el segundo día laborable después de la compra"


def chat(prompt: str, answer: str, **beside) -> dict:
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}], **beside}


ROW_CASES = [  # step, settings, row, reason it is dropped for or the answer it becomes
    ("normalise", {}, chat("q", "cafe\u0301\u00a0 \r\n\n\n\nx\u200b "), "café\n\nx"),
    ("normalise", {"unicode": "NFKC"}, chat("q", "ﬁne"), "fine"),
    ("normalise", {}, chat("q", "fine"), "fine"),
    ("normalise", {}, chat("q", "\u200b\u200b"), "!empty-text"),
    ("filter", {"min_words": 4}, chat("one two", "three"), "!too-short"),
    ("filter", {"max_words": 2}, chat("one two", "three"), "!too-long"),
    ("filter", {"min_answer_words": 2}, chat("one two", "three"), "!too-short"),
    ("filter", {"max_answer_words": 1}, chat("one two", "three four"), "!too-long"),
    ("filter", {"max_chars": 5}, chat("one two", "three"), "!too-long"),
    ("filter", {"max_turns": 1}, chat("one two", "three"), "!too-many-turns"),
    ("filter", {"language": ["en"]}, chat("q", SPANISH), "!language"),
    ("filter", {"language": ["en"]}, chat("q", LONG), LONG),
    ("filter", {"language": ["en"]}, chat("q", "hola"), "hola"),
    ("filter", {"quality": ["refusal"]}, chat("q", "As an AI language model, I cannot"), "!refusal"),
    ("filter", {"quality": ["encoding"]}, chat("q", "CafÃ© crème"), "!encoding"),
    ("filter", {"quality": ["repetition"]}, chat("q", "so it goes on and on " * 9), "!repetition"),
    ("filter", {"quality": ["degenerate"]}, chat("q", "N/A"), "!degenerate"),
    ("filter", {"quality": ["placeholder"]}, chat("q", "Dear [Your Name], welcome"), "!placeholder"),
    ("filter", {"quality": ["symbols"]}, chat("q", "+-+-" * 20 + "abc"), "!symbols"),
    ("filter", {"quality": ["unfinished"]}, chat("q", LONG + " " + LONG), "!unfinished"),
    ("redact", {}, chat("q", "Write to eva.lind@web.de now"), "Write to [mail] now"),
    ("redact", {"drop": True}, chat("q", "Write to eva.lind@web.de now"), "!personal-data"),
    ("redact", {"kinds": ["card"]}, chat("q", "Write to eva.lind@web.de now"), "Write to eva.lind@web.de now"),
]


@pytest.mark.parametrize("name, settings, row, wanted", ROW_CASES, ids=lambda value: str(value)[:40])
def test_row_steps(name, settings, row, wanted):
    before = json.dumps(row)
    said = row_steps.one_line(name=name, settings=settings)(rows.to_line(row))
    if wanted.startswith("!"):
        assert said[:2] == ("dropped", wanted[1:])
    else:
        assert rows.answers(rows.from_line(said[3]) if said else row) == [wanted]
    assert json.dumps(row) == before


def test_words_that_no_answer_may_hold(tmp_path):
    (tmp_path / "absagen.txt").write_text("# reviewed\nkann ich nicht helfen\n", encoding="utf-8")
    given = [chat("Hilfe?", "Da kann ich NICHT helfen."), chat("Ich fürchte, da kann ich nicht helfen?", "Doch.")]
    built(tmp_path, given, [{"filter": {"without": ["absagen.txt"]}}])
    assert [row["messages"][1]["content"] for row in outputs(tmp_path)["train.jsonl"]] == ["Doch."]
    assert [(fate["reason"], fate["detail"]) for fate in fates(tmp_path) if fate["fate"] == "dropped"] == [
        ("listed-words", "'kann ich NICHT helfen' of absagen.txt")]


def test_style_and_decontaminate_read_their_files(tmp_path):
    (tmp_path / "guide.yaml").write_text("name: g\navoid: {words: [cheap]}\n", encoding="utf-8")
    style = row_steps.one_line(name="style", settings={"guide": [str(tmp_path / "guide.yaml")]})
    assert style(rows.to_line(chat("q", "It is cheap.")))[:2] == ("dropped", "style-avoid")
    assert style(rows.to_line(chat("Is it cheap?", "It is."))) is None
    write_jsonl(tmp_path / "eval.jsonl", [chat(LONG + "?", "Nobody knows that.")])
    settings = {"against": [str(tmp_path / "eval.jsonl")]}
    leaked = row_steps.one_line(name="decontaminate", settings=settings)
    kind, reason, detail, _ = leaked(rows.to_line(chat("Tell me.", "I say: " + LONG)))
    assert (kind, reason) == ("dropped", "leaked-prompt") and "eval.jsonl:1" in detail and "warehouse" in detail
    assert leaked(rows.to_line(chat("q", "nobody knows that")))[1] == "leaked-answer"
    assert leaked(rows.to_line(chat("q", "Nobody knows that for sure."))) is None
    (tmp_path / "allow.txt").write_text(LONG + "\n", encoding="utf-8")
    allowed = row_steps.one_line(name="decontaminate", settings={**settings, "allow": [str(tmp_path / "allow.txt")]})
    assert allowed(rows.to_line(chat("Tell me.", "I say: " + LONG))) is None


PAIRS = [chat(f"{LONG}, says clerk {number}?", f"{number} {LONG}", kind="ab"[number % 2]) for number in range(3)]
SAME = chat("Where is it?", "Here.")

SET_CASES = [  # steps, rows, what the rows of the output are by their place in the source
    ([{"dedup": {}}], [SAME, chat("where  IS it?", "here."), chat("Where is it?", "There.")], [0, 2]),
    ([{"dedup": {"on": "prompt"}}], [SAME, chat("where  IS it?", "There.")], [0]),
    ([{"dedup": {"on": "answer"}}], [SAME, chat("And this?", "Here.")], [0]),
    ([{"dedup": {"on": "prompt", "keep": "longest"}}], [SAME, chat("Where is it?", "There, I think.")], [1]),
    ([{"dedup": {}}], [chat("5+3?", "8"), chat("5-3?", "8")], [0, 1]),
    ([{"near_dedup": {}}], [*PAIRS, SAME], [0, 3]),
    ([{"near_dedup": {"threshold": 1.0}}], [*PAIRS, SAME], [0, 1, 2, 3]),
    ([{"cap": {"rows": 1}}], [SAME, chat("Where is it?", "There."), chat("And this?", "Here.")], [0, 2]),
    ([{"cap": {"rows": 1, "per": "kind"}}], [*PAIRS, SAME], [0, 1, 3]),
    ([{"cap": {"rows": 2, "per": "source"}}], [*PAIRS, SAME], [0, 1]),
    ([{"balance": {"by": "kind"}}], [chat(f"q{n}", "a", kind="x" if n else "y") for n in range(9)], 2),
    ([{"balance": {"by": "kind", "max_ratio": 3.0}}], [chat(f"q{n}", "a", kind="x" if n else "y") for n in range(9)], 4),
    ([{"mix": {"rows": 5}}], [chat(f"q{n}", "a") for n in range(9)], 5),
    ([{"mix": {"synthetic": {"max_share": 0.25}}}],
     [chat(f"q{n}", "a", **({"synthetic": {"generator": "g"}} if n % 3 else {})) for n in range(9)], 4),
    ([{"mix": {"synthetic": {"max_share": 0.0}}}], [SAME, chat("q", "a", synthetic={"generator": "g"})], [0]),
]


@pytest.mark.parametrize("steps, given, wanted", SET_CASES, ids=lambda value: str(value)[:50])
def test_set_steps(steps, given, wanted, tmp_path):
    card = built(tmp_path, given, steps)
    kept = [row["origin"]["row"] for row in outputs(tmp_path)["train.jsonl"]]
    assert sorted(kept) == wanted if isinstance(wanted, list) else len(kept) == wanted
    assert card["rows"]["fates"]["kept"] == len(kept)


def test_shuffle_orders_anew_and_the_seed_decides(tmp_path):
    given = [chat(f"q{n}", "a") for n in range(30)]
    orders = []
    for seed in (0, 0, 1):
        built(tmp_path, given, ["shuffle"], seed=seed)
        orders.append([row["origin"]["row"] for row in outputs(tmp_path)["train.jsonl"]])
    assert orders[0] == orders[1] != orders[2] and sorted(orders[0]) == list(range(30)) != orders[0]


def test_against_another_file(tmp_path):
    write_jsonl(tmp_path / "held.jsonl", [SAME, PAIRS[0]])
    for step in ("dedup", "near_dedup"):
        built(tmp_path, [*PAIRS[1:], SAME, chat("And this?", "Quite another thing, I think.")],
              [{step: {"against": [str(tmp_path / "held.jsonl")]}}])
        gone = {entry["row"]: entry["reason"] for entry in fates(tmp_path) if entry["fate"] == "dropped"}
        assert gone == ({2: "in-other-file"} if step == "dedup" else dict.fromkeys((0, 1, 2), "in-other-file"))


def test_split_keeps_prompts_together(tmp_path):
    """The same prompt, nearly the same prompt, and the same conversation are on one side; shares are about right."""
    words = LONG.split()
    given = [chat(f"Order {n} {' '.join(words[n % 7:])} {n * 7919} {n * 104729}?", f"a{copy}", thread=n // 2)
             for n in range(60) for copy in range(2)]
    built(tmp_path, given, [{"split": {"validation": 0.3, "test": 0.2, "near_prompts": None, "together": ["thread"]}}])
    sides = {name: {row["thread"] for row in held} for name, held in outputs(tmp_path).items()}
    assert all(sides.values()) and sum(map(len, sides.values())) == len(set.union(*sides.values())) == 30
    near = [chat(f"{LONG} {LONG[:-n or None]}?", f"a{n}") for n in range(3)] + [
        chat(f"Quite another question number {n} about {n * 7919}", "a") for n in range(40)]
    card = built(tmp_path, near, [{"split": {"validation": 0.2, "near_prompts": 0.8}}])
    sides = [name for name, held in outputs(tmp_path).items() for row in held if row["origin"]["row"] < 3]
    assert len(sides) == 3 and len(set(sides)) == 1
    assert card["steps"][-1]["facts"]["largest_cluster"] >= 3


def test_what_follows_a_split_leaves_validation_alone(tmp_path):
    given = [chat(f"Question {n * 7919} of {n * 31}?", "a") for n in range(40)]
    card = built(tmp_path, given, [{"split": {"validation": 0.2}}, {"mix": {"rows": 100, "repeats": 5}}, {"cap": {"rows": 1}}])
    held = [row["origin"]["row"] for row in outputs(tmp_path)["validation.jsonl"]]
    assert len(held) == len(set(held)) > 0
    assert card["steps"][2]["facts"]["mixture"]["made"]["realised"] == 100


def test_every_step_is_documented_and_every_setting_explained():
    for step in STEPS.values():
        text = inspect.getdoc(step.load())
        assert text and all(f"{name}:" in text or f"{name}," in text for name in step.settings()), step.name


def test_settings_are_refused_with_the_nearest_name():
    from data_recipes.errors import Refused

    for steps, said in (([{"filter": {"min_word": 3}}], "Did you mean min_words?"), ([{"shufle": {}}], "Did you mean shuffle?"),
                        ([{"cap": {}}], "the key 'rows' is missing"), ([{"cap": {"rows": "3"}}], "a valid integer"),
                        ([{"filter": {"quality": ["refusals"]}}], "'refusal'"),
                        ([{"split": {}}, {"split": {}}], "splits twice"),
                        ([{"dedup": {"on": "answers"}}], "'answer'"), (["cap: 3"], "there is no step")):
        with pytest.raises(Refused) as error:
            checked_recipe({"name": "x", "kind": "prompts", "sources": {"a": {"path": "a.jsonl", "licence": "MIT"}},
                            "steps": steps}, Place("r.yaml", {}))
        assert said in str(error.value)
