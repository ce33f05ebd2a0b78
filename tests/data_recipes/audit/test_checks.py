"""Checks that look at many rows at once: a planted shortcut, bias, noise or distance is measured, and a fair file is clean."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from data_recipes.audit import wordlists
from data_recipes.audit.conflicts import noise_of
from data_recipes.audit.excerpts import excerpt, visible
from data_recipes.audit.model import CLEAN, FACT, LOOK, PROBLEM, Context, Finding, NotDone, Row
from data_recipes.audit.people import difference
from data_recipes.audit.run import audit
from data_recipes.audit.thresholds import names
from data_recipes.errors import Refused
from data_recipes.intervals import wilson
from data_recipes.records import BadRow, Comparison, Demonstration, Labelled, Message, Text, Unpaired
from tests.data_recipes.audit.worlds import made_rows

SENTENCES = [row["messages"][1]["content"] for row in made_rows(400, seed=5)]


def said(text: str, role: str = "assistant") -> tuple[Message]:
    return (Message(role, text),)


def pair(at: int, chosen: str, rejected: str, prompt: str = "", **extra) -> Row:
    asked = said(prompt or f"What is number {at} about?", "user")
    record = Comparison(asked, said(chosen), said(rejected), where=f"pairs.jsonl:{at + 1}", extra=extra)
    return Row(record, source="pairs.jsonl")


def chat(at: int, question: str, answer: str, **extra) -> Row:
    record = Demonstration((*said(question, "user"), *said(answer)), where=f"rows.jsonl:{at + 1}", extra=extra)
    return Row(record, source=extra.get("source", "rows.jsonl"))


def check(rows, name: str, **context) -> Finding:
    report = audit(rows, Context(**context), only=[name])
    return next(found for found in report.findings + report.not_done if found.name == name)


def fair_pairs(count: int = 120, seed: int = 3) -> list[Row]:
    rng = random.Random(seed)
    return [pair(at, *rng.sample(SENTENCES, 2)) for at in range(count)]


# ------------------------------------------------------------------------------------------------------------- shortcuts


def test_a_planted_length_shortcut_is_measured_and_a_fair_file_is_clean():
    longer = [pair(at, SENTENCES[at] + " " + SENTENCES[at + 100], SENTENCES[at + 200]) for at in range(90)]
    shorter = [pair(at + 90, SENTENCES[at], f"{SENTENCES[at + 100]} {SENTENCES[at + 200]}") for at in range(10)]
    found = check(longer + shorter, "longer-wins")
    assert found.level == LOOK and found.measure.value == pytest.approx(0.9)
    assert found.measure.low == pytest.approx(wilson(90, 100).low)
    assert check(fair_pairs(), "longer-wins").level == CLEAN


def test_a_tell_in_the_better_answers_is_found_by_the_classifier_with_its_words():
    rows = [pair(at, f"Certainly! {SENTENCES[at]}", SENTENCES[at + 150]) for at in range(60)]
    found = check(rows, "answer-classifier")
    assert found.level == LOOK and found.measure.value > 0.95
    assert found.bars[0].bars[0][0] in ("certainly", "!", "certainly !")
    fair = check(fair_pairs(), "answer-classifier")
    assert fair.level == CLEAN and fair.measure.low < 0.5 < fair.measure.high


def test_style_is_told_feature_by_feature():
    rows = [pair(at, f"- {SENTENCES[at]}\n- {SENTENCES[at + 1]}", SENTENCES[at + 150]) for at in range(40)]
    found = check(rows, "style")
    figures = {figure.label: figure for figure in found.figures}
    assert figures["more list items"].interval.value == 1.0 and figures["more list items"].marked
    assert "bold" in found.text.partition("Too rare")[2]


def test_verdicts_are_measured_by_the_area_under_the_curve():
    rows = [Row(Unpaired(said(f"Question {at}", "user"), said(SENTENCES[at] + (" More." * 9 if at % 2 else "")), bool(at % 2),
                         where=f"k:{at + 1}")) for at in range(80)]
    assert check(rows, "longer-wins").measure.value > 0.95


def test_rates_need_enough_pairs():
    assert isinstance(check(fair_pairs(5), "longer-wins"), NotDone)


# --------------------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("name, answer, wrong", [
    ("refusals", "As an AI language model,I cannot say.", True), ("refusals", "I'm just an AI, it's my duty.", True),
    ("refusals", "I’m sorry, but I can’t help with that.", True), ("refusals", "As an AI researcher, I read a lot.", False),
    ("refusals", "I am a language teacher.", False), ("refusals", "As a large company we sell lamps.", False),
    ("refusals", "I'm sorry for your loss.", False),
    ("repetition", "and so on " * 6, True), ("repetition", "ha" * 40, True), ("repetition", "0 1 " * 9, False),
    ("repetition", "| --- | --- | --- | --- | --- | --- | --- |", False), ("repetition", "very very very good", False),
    ("degenerate-answers", "[Your answer here]", True), ("degenerate-answers", "N/A", True),
    ("degenerate-answers", "👍", False), ("degenerate-answers", "42", False), ("degenerate-answers", "No.", False),
    ("encoding", "cafÃ©", True), ("encoding", "â€œquotedâ€\x9d", True), ("encoding", "Spaß“ und „Äpfel“ — naïve café", False),
    ("encoding", "Привет, мир — 你好", False), ("encoding", "AT&amp;T", False), ("encoding", "&amp;lt;b&amp;gt;", True),
    ("turns", "Fine.\n\nHuman: And now?", True), ("turns", "Use <|im_end|> here", True), ("turns", "Humans: all of us", False),
    ("turns", "## Input:\n3 lines", False),
])
def test_what_an_answer_may_and_may_not_say(name, answer, wrong):
    assert bool(check([chat(0, "What is it?", answer)], name).count) is wrong


# ------------------------------------------------------------------------------------------------------------- conflicts


def test_noise_by_hand_and_estimated_from_repeats():
    assert noise_of(2 * 0.1 * 0.9) == pytest.approx(0.1) and noise_of(0.0) == 0.0 and noise_of(0.5) == 0.5
    rng, rows = random.Random(1), []
    for at in range(400):
        for again in range(2):
            sides = (SENTENCES[at], f"{SENTENCES[at]} Or not.")
            sides = sides[::-1] if rng.random() < 0.15 else sides
            rows.append(pair(2 * at + again, *sides, prompt=f"Question {at}?"))
    found = check(rows, "label-noise")
    assert found.level == LOOK and found.measure.low < 0.15 < found.measure.high
    assert found.measure.high - found.measure.low < 0.1


def test_what_a_mixture_took_again_is_no_second_judgement():
    def row(at: int, source_row: int) -> Row:
        return pair(at, SENTENCES[source_row], SENTENCES[source_row + 50], f"Question {source_row}?",
                    origin={"source": "votes", "licence": "own", "row": source_row})

    repeated = [row(at, at % 10) for at in range(30)]
    assert "0 judgements were repeated" in check(repeated, "label-noise").text
    judged_twice = [row(at, at % 10) for at in range(10)] + [pair(at, SENTENCES[at % 10], SENTENCES[at % 10 + 50],
                                                                  f"Question {at % 10}?") for at in range(10, 20)]
    assert check(judged_twice, "label-noise").total == 10


def test_one_text_with_two_labels_is_a_contradiction():
    rows = [Row(Labelled(text, label, where=f"l:{at + 1}")) for at, (text, label) in
            enumerate([("a fine film", 1), ("a dull film", 0), ("A fine film!", 0)])]
    assert [one.where for one in check(rows, "contradictions").places] == ["l:1", "l:3"]


def test_a_circle_through_three_answers_is_found_and_a_chain_is_not():
    a, b, c = SENTENCES[:3]
    circle = [pair(0, a, b, "Q?"), pair(1, b, c, "Q?"), pair(2, c, a, "Q?")]
    assert [one.where for one in check(circle, "cycles").places] == ["pairs.jsonl:1", "pairs.jsonl:2", "pairs.jsonl:3"]
    assert check([pair(0, a, b, "Q?"), pair(1, b, c, "Q?"), pair(2, a, c, "Q?")], "cycles").level == CLEAN
    # the same three answers to another prompt are another question
    assert check([*circle[:2], pair(2, c, a, "R?")], "cycles").level == CLEAN


# ----------------------------------------------------------------------------------------------------------------- people


def test_a_group_that_is_refused_more_often_is_named():
    def row(at: int) -> Row:
        women = at % 2 == 0
        refused = women and at % 4 == 0
        answer = "I'm sorry, but I can't help with that." if refused else SENTENCES[at]
        return chat(at, f"How does a {'woman' if women else 'person'} apply for job {at}?", answer)

    found = check([row(at) for at in range(200)], "groups", groups=wordlists.groups())
    assert found.level == LOOK and found.figures[0].label == "refused: women"
    assert found.figures[0].interval.value == 0.5 and found.figures[0].neutral == 0.0
    assert {one.where for one in found.places} == {f"rows.jsonl:{at + 1}" for at in range(0, 200, 4)}


def test_a_group_by_a_column_and_equal_treatment_is_clean():
    rows = [chat(at, f"Question {at}?", "I'm sorry, but I can't help with that." if at % 5 == 0 else SENTENCES[at],
                 region="north" if at % 2 else "south") for at in range(200)]
    found = check(rows, "groups", group_column="region")
    assert found.level == CLEAN and "north 100" in found.text and found.total == 4


def test_the_difference_of_shares_as_newcombe_prints_it():
    # Newcombe (1998), table II, case (a): 56/70 - 48/80, method 10: 0.0524 to 0.3339
    low, high = difference(wilson(56, 70), wilson(48, 80))
    assert (low, high) == (pytest.approx(0.0524, abs=1e-4), pytest.approx(0.3339, abs=1e-4))


def test_tone_that_wins_and_toxic_answers_are_told():
    rows = [pair(at, SENTENCES[at], f"{SENTENCES[at + 100]} You stupid pathetic idiot.") for at in range(40)]
    tone = check(rows, "tone")
    assert tone.level == LOOK and "angry" in tone.text
    toxic = check([*rows, pair(40, "Go to hell.", "No.")], "toxic")
    assert toxic.count == 1 and toxic.level == LOOK  # those on the rejected side are listed and not counted
    assert len({one.where for one in toxic.places}) == 41


def test_toxicity_by_a_model_takes_its_scores():
    rows = [chat(0, "Hi", "lovely"), chat(1, "Hi", "vile")]
    found = check(rows, "toxic", toxicity=lambda texts: [float("vile" in text) for text in texts])
    assert [one.where for one in found.places] == ["rows.jsonl:2"] and "score 1.00" in found.places[0].note


def test_word_lists_count_whole_words_in_any_case():
    seek = wordlists.pattern(frozenset({"hell", "go to hell"}))
    assert seek.findall("Go To Hell, hello shell") == ["Go To Hell"]
    mixed = wordlists.pattern(frozenset({"笨蛋", "Idiot"}))
    assert mixed.findall("你这个笨蛋真笨 idiot idiotisch") == ["笨蛋", "idiot"]


def test_a_team_s_own_words_take_the_place_of_the_english_ones(tmp_path):
    (tmp_path / "nein.txt").write_text("# Absagen\ndabei kann ich leider nicht helfen\n", encoding="utf-8")
    (tmp_path / "grob.txt").write_text("trottel\n", encoding="utf-8")
    words = wordlists.chosen([f"refusal={tmp_path / 'nein.txt'}", f"toxic={tmp_path / 'grob.txt'}"])
    rows = [chat(0, "Hallo", "Dabei kann ich leider nicht helfen."), chat(1, "Hallo", "Du Trottel!"),
            chat(2, "Hello", "I'm sorry, but I can't help with that, you idiot.")]
    assert [one.where for one in check(rows, "refusals", words=words).places] == ["rows.jsonl:1"]
    assert [one.where for one in check(rows, "toxic", words=words).places] == ["rows.jsonl:2"]
    assert [one.where for one in check(rows, "refusals").places] == ["rows.jsonl:3"]
    women = [chat(at, f"Frage einer Frau {at}?" if at % 2 else f"Frage {at}?", rows[0].answers["answer"] if at % 2 else "Gern.")
             for at in range(60)]
    found = check(women, "groups", groups={"women": frozenset({"frau"})}, words=words)
    assert found.figures[0].label == "refused: women"


@pytest.mark.parametrize("given, said", [("toxik=x.txt", "Did you mean toxic=x.txt?"), ("toxic", "NAME=FILE"),
                                         ("toxic=no.txt", "cannot be read")])
def test_a_word_list_that_is_none_is_refused(given, said):
    with pytest.raises(Refused, match=said.replace("?", r"\?")):
        wordlists.chosen([given])


# ----------------------------------------------------------------------------------------------------------------- domain


@pytest.mark.parametrize("embed", [None, lambda texts: [[1.0, 0.1] if "warehouse" in text else [0.0, 1.0] for text in texts]])
def test_what_lies_outside_of_the_target_domain_is_listed(embed):
    target = tuple(f"Where is my order {at}? Order {at} ships from the warehouse on Monday, parcel {at}." for at in range(40))
    near = [chat(at, f"When does order {at} ship?", "It ships from the warehouse.", source="shop") for at in range(20)]
    far = [chat(at, "Tell a joke", SENTENCES[at], source="jokes") for at in range(20, 25)]
    found = check(near + far, "domain", target=target, embed=embed)
    figures = {figure.label: figure.interval.value for figure in found.figures}
    assert figures["shop"] > figures["jokes"] + 0.3
    assert {one.where for one in found.places} == {f"rows.jsonl:{at + 1}" for at in range(20, 25)}


# ----------------------------------------------------------------------------------------------------------------- tokens


@dataclass
class Ids:
    input_ids: list[int]
    trained: list[bool]


@dataclass
class PairIds:
    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]


class Words:
    """A renderer of one token a word, which refuses what says `refuse`."""

    def demonstration(self, record):
        texts = [record.text] if isinstance(record, Text) else [turn.content for turn in record.messages]
        if "refuse" in texts[-1]:
            raise BadRow("template-refused", "not here")
        sizes = [len(text.split()) for text in texts]
        return Ids([1] * sum(sizes), [False] * sum(sizes[:-1]) + [True] * sizes[-1])

    def comparison(self, record):
        return PairIds(*([len(word) for word in side[-1].content.split()] for side in
                         (record.prompt, record.chosen, record.rejected)))


def test_tokens_truncation_and_refused_rows():
    rows = [chat(0, "one two three", "four"), chat(1, "one " * 30, "two"), chat(2, "hello", "refuse")]
    report = {found.name: found for found in audit(rows, Context(renderer=Words(), max_length=20), only=["tokens"]).findings}
    assert report["tokens"].level == FACT and report["tokens"].measure.value == pytest.approx(2 / 35)
    assert [one.where for one in report["truncation"].places] == ["rows.jsonl:2"]
    assert [one.where for one in report["untrainable"].places] == ["rows.jsonl:3"]


def test_pairs_that_differ_behind_the_maximum_length_only():
    rows = [pair(0, "aa bb cc dd", "aa bb cc ddd", "q"), pair(1, "aa bb", "aa bbb", "q")]
    found = check(rows, "identical-after-cut", renderer=Words(), max_length=4)
    assert found.level == PROBLEM and [one.where for one in found.places] == ["pairs.jsonl:1"]


# --------------------------------------------------------------------------------------------------------------- excerpts


def test_excerpts_mask_personal_data_that_their_edge_would_cut():
    text = "x" * 30 + " write to eva.lindqvist@posteo.de " + "y" * 100
    for at in range(len(text)):
        shown = excerpt(text, at, at + 1)
        assert "lindqvist" not in shown and "posteo" not in shown, at


def test_excerpts_hold_nothing_that_steers_a_screen():
    assert visible("a\x1b[31mb\u202ec\n\nd") == "a⟨U+001B⟩[31mb⟨U+202E⟩c d"


def test_every_check_has_its_reason_and_its_remedy():
    report = audit(fair_pairs(30), Context(groups=wordlists.groups()))
    assert all(found.why and found.mend and found.section for found in report.findings)
    assert {found.name for found in report.findings} | {one.name for one in report.not_done} >= set(names()) - {"cycles"}
