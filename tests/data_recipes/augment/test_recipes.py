import itertools
import re

import pytest

from data_recipes.augment.asking import Asker
from data_recipes.augment.backtranslate import copied
from data_recipes.augment.generator import Answer, Sampling
from data_recipes.augment.job import Job, make_settings
from data_recipes.augment.paraphrase import fixed_parts
from data_recipes.augment.table import RECIPES
from data_recipes.augment.wording import Wordings
from data_recipes.errors import Refused
from data_recipes.records import Comparison, Demonstration, Message, Prompt, Text
from data_recipes.style import load_guide
from reward.judge import TEXTS, Judge
from tests.data_recipes.augment.stand_ins import Scripted


def prompt(text: str, **extra) -> Prompt:
    return Prompt((Message("user", text),), where=f"seeds.jsonl:{len(text)}", extra=extra)


def chat(question: str, answer: str, **extra) -> Demonstration:
    return Demonstration((Message("user", question), Message("assistant", answer)), where="seeds.jsonl:1", extra=extra)


def job(name: str, rows: list, answer, *settings: str, texts=None, **more) -> Job:
    recipe = RECIPES[name]
    generator = Scripted(answer)
    return Job(name, rows, Asker(generator), make_settings(recipe.settings, settings), Wordings(texts or recipe.texts),
               generator.identity, Sampling(64), **more)


def run(name: str, rows: list, answer, *settings: str, **more) -> Job:
    """Runs a recipe; its account adds up, its rows are stamped, and it asked no more than its plan said."""
    made = job(name, rows, answer, *settings, **more)
    planned = RECIPES[name].plan(made)
    RECIPES[name].run(made)
    assert made.account.read == made.account.kept + made.account.refused and made.account.kept == len(made.made)
    assert len(made.ask.generator.asked) <= sum(stage.requests for stage in planned)
    most = sum(one.prompt_bound() for one in made.ask.generator.asked)
    longest = sum(stage.prompt_tokens for stage in planned)
    assert most <= longest + sum(stage.completion_tokens for stage in planned)
    for row in made.made:
        stamp = row["synthetic"]
        assert (stamp["recipe"], stamp["template_hash"]) == (name, made.wordings.hash)
        assert stamp["parents"] and all(len(one["sha256"]) == 64 for one in stamp["parents"]) and stamp["seed"] >= 0
    return made


def last(request) -> str:
    return request.messages[-1]["content"]


SEEDS = [prompt(f"Where is the {thing} of my order number {i}?") for i, thing in enumerate(("hat", "lamp", "drum", "vase"))]


# --------------------------------------------------------------------------------------------------------- self-instruct

VERBS = ("Explain", "Compare", "Name", "Describe", "Summarise", "Translate", "List", "Sketch")
THINGS = ("autumn winds", "garden tools", "river trade", "old clocks", "mountain bread", "silent films", "desert frogs")


def inventive():
    pairs = itertools.cycle(itertools.product(VERBS, THINGS))

    def answer(request):
        if "numbered list" not in last(request):
            return f"This is an answer to: {last(request)}"
        verb, thing = next(pairs)
        old = SEEDS[0].messages[0].content
        return f"1. {verb} {thing} briefly, with one reason\n2) Draw an image of {thing}\n3. Stop it\n4. {old}"

    return answer


def test_self_instruct_keeps_what_is_new_and_answers_it():
    made = run("self-instruct", SEEDS, inventive(), "count=5", "parallel=2", "per_request=4", "novelty=0.9")
    assert len(made.made) == 5 and {"not-for-text", "not-needed", "not-novel", "too-short"} == set(made.account.rejected)
    row = made.made[0]
    assert row["messages"][0]["content"] == "Explain autumn winds briefly, with one reason"
    assert row["messages"][1]["content"].startswith("This is an answer to: Explain")
    assert all(one["where"].startswith("seeds.jsonl") for one in row["synthetic"]["parents"])
    texts = [row["messages"][0]["content"] for row in made.made]
    assert len(set(texts)) == 5


def test_self_instruct_gives_prompts_alone_and_stops_after_its_rounds():
    made = run("self-instruct", SEEDS, lambda one: "I cannot do that.", "count=50", "rounds=3", "parallel=2", "answer=false")
    assert not made.made and made.account.rejected == {"unreadable": 6}
    made = run("self-instruct", SEEDS, inventive(), "count=2", "answer=false", "novelty=0.9")
    assert [list(row) for row in made.made] == [["prompt", "synthetic"]] * 2


def test_self_instruct_shows_what_it_made_and_is_the_same_each_time():
    first, second = (run("self-instruct", SEEDS, inventive(), "count=9", "parallel=2", "novelty=0.9") for _ in range(2))
    assert first.made == second.made
    assert any(one["where"] == "made" for row in first.made for one in row["synthetic"]["parents"])


# ------------------------------------------------------------------------------------------------------------ paraphrase


@pytest.mark.parametrize(("text", "reason"), [
    ("Could you tell me where to find parcel AB-17 by now?", ""),
    ("Could you tell me where to find my parcel by now?", "lost-detail"),
    ("Could you tell me where parcel AB-17 is at 9 now?", "added-detail"), ("Where is parcel AB-17 now?", "copy"),
    ("AB-17?", "length"), ("", "empty-answer"),
])
def test_paraphrase_gates(text, reason):
    rows = [chat("Where is parcel AB-17 now?", "It ships on Monday.", topic="parcel")]
    made = run("paraphrase", rows, lambda one: text if "Rewrite" in last(one) else "Yes.", "count=1")
    assert made.account.rejected == ({reason: 1} if reason else {})
    if not reason:
        assert made.made[0]["messages"][1]["content"] == "It ships on Monday." and made.made[0]["topic"] == "parcel"
        assert made.made[0]["synthetic"]["parents"][0]["where"] == "seeds.jsonl:1"


def test_paraphrase_asks_for_the_meaning_both_ways():
    asked = []

    def answer(request):
        if "Rewrite" in last(request):
            return "Could you tell me where my parcel is right now?"
        asked.append(last(request))
        return "yes" if len(asked) == 1 else "no"

    made = run("paraphrase", [prompt("Where is the parcel that I sent?")], answer, "count=1")
    assert made.account.rejected == {"meaning": 1} and len(asked) == 2
    assert run("paraphrase", [prompt("Where is the parcel that I sent?")], answer, "count=1", "check=false").account.kept == 1


def test_what_a_paraphrase_may_not_touch():
    found = fixed_parts('Send "blue hat" to a.b@c.org, see https://x.org/a?b=1 (order AB-17, 3.5 kg). `ls -l`')
    assert set(found) == {"blue hat", "a.b@c.org", "https://x.org/a?b=1", "AB-17", "3.5", "ls -l"}


# --------------------------------------------------------------------------------------------------------- backtranslate

TEXT = "The museum opens at ten on all days but Monday, and children under twelve pay nothing at the door."


def rated(instruction: str, rating: str):
    return lambda one: rating if "Rate how well" in last(one) else instruction


@pytest.mark.parametrize(("instruction", "rating", "reason"), [
    ("When is the museum open, and what do children pay?", "Fits.\nScore: 5", ""),
    ("When is the museum open, and what do children pay?", "Fits.\nScore: 3", "low-rating"),
    ("When is the museum open, and what do children pay?", "Score: 5 I think", "unreadable"),
    ("Say that the museum opens at ten on all days but Monday.", "Score: 5", "copies-answer"), ("When?", "Score: 5", "length"),
])
def test_backtranslate_gates(instruction, rating, reason):
    made = run("backtranslate", [Text(TEXT, "texts.jsonl:3")], rated(instruction, rating))
    assert made.account.rejected == ({reason: 1} if reason else {})
    if not reason:
        assert [turn["content"] for turn in made.made[0]["messages"]] == [instruction, TEXT]
        assert made.made[0]["synthetic"]["rating"] == 5


def test_backtranslate_keeps_the_best_of_several():
    number = itertools.count()

    def answer(request):
        if "Rate how well" in last(request):
            return "Score: 5" if "question 1" in last(request) else "Score: 4"
        return f"This is question {next(number)} about museums"

    made = run("backtranslate", [Text(TEXT, "t:1")], answer, "count=3")
    assert made.made[0]["messages"][0]["content"].startswith("This is question 1")
    assert made.account.rejected == {"not-the-best": 2}
    assert copied("a b c d e f g h i", "x a b c d e f g h y") == "a b c d e f g h" and not copied("a b", "a b")


# ------------------------------------------------------------------------------------------------------------- best of n


def lengths(prompts, completions, **columns) -> list[float]:
    assert columns["code"] == ["X"] * len(prompts) and columns["stopped"] == [True] * len(prompts)
    return [float(len(completion[0]["content"])) for completion in completions]


def by_turn(*texts):
    found = itertools.cycle(texts)
    return lambda one: next(found)


def test_best_of_n_to_rows_and_to_pairs():
    answers = ("bb", "a", Answer("cut off here", stopped=False), "dddd", "bb", " ")
    made = run("best-of-n", [prompt("How long?", code="X")], by_turn(*answers), "n=6", score=lengths)
    assert made.made[0]["messages"][-1]["content"] == "dddd" and made.made[0]["code"] == "X"
    assert made.account.rejected == {"cut-off": 1, "same-answer": 1, "empty-answer": 1, "not-chosen": 2}
    assert made.made[0]["synthetic"]["score"] == 4.0
    made = run("best-of-n", [prompt("How long?", code="X")], by_turn(*answers), "n=6", "to=pairs", score=lengths)
    assert made.made[0]["chosen"][0]["content"] == "dddd" and made.made[0]["rejected"][0]["content"] == "a"
    assert made.made[0]["synthetic"]["scores"] == [4.0, 1.0]


@pytest.mark.parametrize(("settings", "answers", "reason"), [
    (("n=2",), ("aa", "bb"), "no-difference"), (("n=2", "least=9"), ("a", "bb"), "low-score"),
    (("n=2", "to=pairs", "gap=5"), ("a", "bb"), "small-gap"), (("n=2",), ("a", ""), "one-answer"),
])
def test_best_of_n_gates(settings, answers, reason):
    made = run("best-of-n", [prompt("How long?", code="X")], by_turn(*answers), *settings, score=lengths)
    assert not made.made and reason in made.account.rejected


def test_best_of_n_asks_for_different_seeds():
    made = run("best-of-n", [prompt("How long?", code="X")], by_turn("a", "bb"), score=lengths)
    assert len({one.seed for one in made.ask.generator.asked}) == 4


# -------------------------------------------------------------------------------------------------------- constitutional


def critic(revision: str, first: str = "Go away, it is your own fault."):
    def answer(request):
        if "what is wrong" in last(request):
            assert "last answer" in last(request)
            return "It is rude."
        return revision if "again" in last(request) else first

    return answer


@pytest.mark.parametrize(("revision", "reason"), [
    ("I am sorry. Please send me the number of the order.", ""), ("Go away, it is your own fault.", "not-changed"),
    ("Here is the new answer:\nPlease send the number.", "talks-about-it"), ("Revision: please send it.", "talks-about-it"),
    ("please " * 60, "too-long"), (" ", "empty-answer"),
])
def test_constitutional_gates(revision, reason):
    made = run("constitutional", [prompt("My lamp is broken.")], critic(revision))
    assert made.account.rejected == ({reason: 1} if reason else {})
    if not reason:
        assert made.made[0]["chosen"][0]["content"] == revision and "fault" in made.made[0]["rejected"][0]["content"]
        assert len(made.made[0]["synthetic"]["principles"]) == 1


def test_constitutional_takes_a_rows_own_answer_and_a_teams_principles(tmp_path):
    (tmp_path / "rules.yaml").write_text("greet: The answer greets.\nthank: The answer thanks.\n")
    where = f"constitution={tmp_path / 'rules.yaml'}"
    revisions = by_turn("Hello, it ships on Monday.", "Hello, it ships on Monday, and thank you.")

    def answer(request):
        return "Not enough." if "what is wrong" in last(request) else revisions(request)

    made = run("constitutional", [chat("When does it ship?", "Monday")], answer, where, "rounds=2")
    row = made.made[0]
    assert row["rejected"][0]["content"] == "Monday" and row["chosen"][0]["content"].endswith("thank you.")
    assert sorted(row["synthetic"]["principles"]) == ["greet", "thank"]
    plain = run("constitutional", [chat("When does it ship?", "Monday")], critic("It ships on Monday, thank you."))
    assert plain.wordings.hash != made.wordings.hash
    (tmp_path / "rules.yaml").write_text("greet: [1]\n")
    with pytest.raises(Refused, match="rules.yaml:1.*no text"):
        run("constitutional", [prompt("x")], answer, where)


# ----------------------------------------------------------------------------------------------------------- judge-pairs


def judged(rows: list, rule, *settings: str) -> Job:
    made = job("judge-pairs", rows, None, *settings, texts=TEXTS)

    def answer(request):
        sides = re.findall(r"<\w+ answer [AB]>\n(.*?)\n</", last(request), re.DOTALL)
        return f"Because.\n[[{rule(*sides)}]]"

    made.ask = Asker(Scripted(answer))
    made.judge = Judge(made.ask, wordings=made.wordings)
    planned = RECIPES["judge-pairs"].plan(made)
    RECIPES["judge-pairs"].run(made)
    assert len(made.ask.generator.asked) <= planned[0].requests
    assert made.account.read == made.account.kept + made.account.refused
    return made


def test_judged_pairs():
    rows = [prompt("Where?", responses=["Monday.", "Go away.", "Monday."], sources=["a", "b", "c"], topic="x")]
    made = judged(rows, lambda a, b: "A" if "Monday" in a else "B")
    row = made.made[0]
    assert (row["chosen"][0]["content"], row["rejected"][0]["content"]) == ("Monday.", "Go away.")
    assert row["topic"] == "x" and "responses" not in row and len(made.made) == 1
    assert judged(rows, lambda a, b: "A").account.rejected == {"order-decides": 1}
    assert judged(rows, lambda a, b: "C").account.rejected == {"tie": 1}
    assert judged([prompt("Where?", responses=["one"])], lambda a, b: "A").account.rejected == {"one-answer": 1}
    three = [prompt("Where?", responses=["1", "22", "333"])]
    assert len(judged(three, lambda a, b: "A" if a > b else "B").made) == 3
    assert len(judged(three, lambda a, b: "A" if a > b else "B", "most=1").made) == 1


def test_pairs_are_labelled_anew():
    pair = Comparison((Message("user", "Where?"),), (Message("assistant", "Go."),), (Message("assistant", "Monday."),),
                      where="p:1")
    made = judged([pair], lambda a, b: "A" if "Monday" in a else "B")
    assert made.made[0]["chosen"][0]["content"] == "Monday."


# -------------------------------------------------------------------------------------------------------- all recipes


def test_a_style_guide_is_one_more_gate(tmp_path):
    (tmp_path / "g.yaml").write_text("length: {high: 3}")
    guide = load_guide(tmp_path / "g.yaml")
    made = run("best-of-n", [prompt("How long?", code="X")], by_turn("a", "b c d e"), "n=2", score=lengths, style=guide)
    assert made.account.rejected == {"not-chosen": 1, "style": 1}
    assert "more than 3" in made.account.rejected_rows[-1]["detail"]


def test_equal_rows_are_made_once():
    made = run("paraphrase", [prompt("Where is my hat now?"), prompt("Where is my hat now?")],
               lambda one: "Tell me where my hat is" if "Rewrite" in last(one) else "yes", "count=1")
    assert made.account.kept == 1 and set(made.account.rejected) == {"duplicate"}


def test_a_system_prompt_goes_before_each_question_and_into_no_row():
    made = run("best-of-n", [prompt("How long?", code="X")], by_turn("a", "bb"), "n=2", score=lengths, system="Be brief.")
    assert all(one.messages[0] == {"role": "system", "content": "Be brief."} for one in made.ask.generator.asked)
    assert made.made[0]["messages"][0]["role"] == "user"


@pytest.mark.parametrize(("text", "said"), [
    ("cuont=3", "count"), ("count=many", "a whole number"), ("answer=yes", "true or false"), ("count", "KEY=VALUE"),
    ("novelty=high", "a number"),
])
def test_wrong_settings(text, said):
    with pytest.raises(Refused, match=said):
        make_settings(RECIPES["self-instruct"].settings, [text])


def test_settings_of_every_kind():
    found = make_settings(RECIPES["best-of-n"].settings, ["least=-1", "gap=2", "to=pairs", "n=3"])
    assert (found.least, found.gap, found.to, found.n) == (-1.0, 2.0, "pairs", 3)
    assert make_settings(RECIPES["best-of-n"].settings, ["least=null"]).least is None
    with pytest.raises(Refused, match="sft, pairs"):
        make_settings(RECIPES["best-of-n"].settings, ["to=dpo"])


def test_wordings_may_be_changed_and_must_have_the_same_places(tmp_path):
    file, recipe = tmp_path / "w.yaml", RECIPES["paraphrase"]
    file.write_text("rewrite: 'Sag es anders: {{prompt}}'\n")
    changed = Wordings(recipe.texts).changed(file)
    assert changed.fill("rewrite", prompt="{{prompt}}") == "Sag es anders: {{prompt}}"
    assert changed.hash != Wordings(recipe.texts).hash and changed.texts["same"] == recipe.texts["same"]
    for text, said in (("rewrit: x", "no wording 'rewrit'.*rewrite"), ("rewrite: x", "places none.*exactly {{prompt}}"),
                       ("rewrite: [1]", "no text")):
        file.write_text(text)
        with pytest.raises(Refused, match=said):
            Wordings(recipe.texts).changed(file)


def test_a_plain_text_is_refused_where_a_prompt_is_needed():
    with pytest.raises(Refused, match="backtranslate"):
        run("paraphrase", [Text("prose", "t:1")], lambda one: "x")
