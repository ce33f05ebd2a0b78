import json

import pytest

from data_recipes.augment.asking import Asker, Budget
from data_recipes.augment.generator import Answer, Request, Sampling
from data_recipes.augment.request_log import Recorded, RequestLog
from data_recipes.errors import Failed, Refused
from tests.data_recipes.augment.stand_ins import Scripted


def request(text: str, **sampling) -> Request:
    return Request(({"role": "user", "content": text},), Sampling(**{"max_new_tokens": 20, **sampling}), 1)


def upper(one: Request) -> str:
    return one.messages[-1]["content"].upper()


def test_nothing_is_asked_twice(tmp_path):
    file = tmp_path / "log.jsonl"
    first = Scripted(upper)
    assert [answer.text for answer in Asker(first, RequestLog(file))([request("a"), request("b"), request("a")])] == [
        "A", "B", "A"]
    assert len(first.asked) == 2
    second = Scripted(upper)
    asker = Asker(second, RequestLog(file))
    asker([request("b"), request("c"), request("a")])
    assert [one.messages[0]["content"] for one in second.asked] == ["c"]
    assert asker.account() == {"asked": 3, "answered_now": 1, "reused": 2, "retries": 0, "lost": {}, "prompt_tokens": 30,
                               "completion_tokens": 3, "cost": None}


def test_another_seed_sampling_or_generator_is_another_question():
    base = request("a")
    keys = {base.key({"kind": "x", "name": "one"}), request("a", temperature=0.5).key({"kind": "x"}),
            Request(base.messages, base.sampling, 2).key({"kind": "x"}), base.key({"kind": "y"})}
    assert len(keys) == 4 and base.key({"kind": "x", "name": "moved"}) in keys


def test_a_cut_last_line_goes_and_a_damaged_one_is_named(tmp_path):
    file = tmp_path / "log.jsonl"
    Asker(Scripted(upper), RequestLog(file))([request("a"), request("b")])
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    assert [answer.text for answer in RequestLog(file).answers.values()] == ["A"]
    Asker(Scripted(upper), RequestLog(file))([request("b")])
    assert file.read_bytes() == whole
    file.write_bytes(b"{}\n" + whole)
    with pytest.raises(Refused, match="log.jsonl:1"):
        RequestLog(file)


def test_a_recording_answers_what_was_recorded_and_nothing_else(tmp_path):
    file = tmp_path / "log.jsonl"
    Asker(Scripted(upper), RequestLog(file))([request("a")])
    recorded = Recorded(file)
    assert Asker(recorded)([request("a")])[0].text == "A" and recorded.identity == {"kind": "scripted", "name": "scripted"}
    with pytest.raises(Refused, match="no answer to the question that ends with 'b'"):
        Asker(recorded)([request("b")])
    Asker(Scripted(str, name="other"), RequestLog(file)).log.add({"kind": "other", "name": "other"}, request("c"), Answer("C"))
    with pytest.raises(Refused, match="2 generators"):
        Recorded(file)
    assert Asker(Recorded(file, "other"))([request("c")])[0].text == "C"
    with pytest.raises(Refused, match="no such recording"):
        Recorded(tmp_path / "none")


def test_the_budget_holds_to_the_token_and_a_higher_one_goes_on(tmp_path):
    file = tmp_path / "log.jsonl"
    asked = [request(f"question {i}") for i in range(10)]
    dearest = asked[0].prompt_bound() + 20
    generator = Scripted(lambda one: Answer("x", True, 10, 10))
    with pytest.raises(Failed, match="budget is used up: 60 tokens"):
        Asker(generator, RequestLog(file), Budget(max_tokens=dearest + 50))(asked)
    assert len(generator.asked) == 3  # 60 spent, and 50 is what the limit has beyond one question at its dearest
    again = Scripted(lambda one: Answer("x", True, 10, 10))
    assert len(Asker(again, RequestLog(file), Budget(max_tokens=10_000))(asked)) == 10 and len(again.asked) == 7


def test_cost_by_prices():
    budget = Budget(max_cost=0.5, prices=(1.0, 10.0))
    assert budget.cost(100_000, 20_000) == pytest.approx(0.3) and budget.allows(100_000, 40_000)
    assert not budget.allows(100_000, 40_001)
    with pytest.raises(Refused, match="--price"):
        Budget(max_cost=1.0)


def test_lost_questions_are_not_logged_and_are_asked_again(tmp_path):
    file = tmp_path / "log.jsonl"
    asker = Asker(Scripted(lambda one: Answer(lost="status 500", attempts=4)), RequestLog(file))
    assert asker([request("a")])[0].fault() == ("no-answer", "status 500")
    assert asker.account()["lost"] == {"status 500": 1} and asker.account()["retries"] == 3 and not file.exists()
    assert Asker(Scripted(upper), RequestLog(file))([request("a")])[0].text == "A"


def test_a_refused_question_is_logged(tmp_path):
    file = tmp_path / "log.jsonl"
    Asker(Scripted(lambda one: Answer(refused="too long")), RequestLog(file))([request("a")])
    silent = Scripted(upper)
    assert Asker(silent, RequestLog(file))([request("a")])[0].fault() == ("request-refused", "too long")
    assert not silent.asked


def test_a_lone_surrogate_in_an_answer_does_no_harm(tmp_path):
    file = tmp_path / "log.jsonl"
    Asker(Scripted(lambda one: "half \ud83d"), RequestLog(file))([request("a")])
    assert json.loads(file.read_text())["answer"]["text"] == "half ?"
