import json
from collections import Counter

import pytest

from data_recipes.augment.asking import Asker
from data_recipes.augment.endpoint import Endpoint, Settings, _retry_after, is_loopback
from data_recipes.augment.generator import Request, Sampling
from data_recipes.augment.request_log import RequestLog
from data_recipes.errors import Failed, Refused
from tests.data_recipes.augment.stand_ins import CUT, GARBAGE, STALL, completion, serving

HOW = Settings(concurrency=3, retries=3, timeout=5.0)


def request(text: str, seed: int = 5) -> Request:
    return Request(({"role": "user", "content": text},), Sampling(20, 0.5, 0.9, 4), seed)


def client(url: str, settings: Settings = HOW):
    pauses: list[float] = []
    return Endpoint(url, settings, sleep=lambda seconds: pauses.append(seconds) or False), pauses


def failing_first(failures: list):
    """Fails each conversation so often as planned, then answers."""
    seen = Counter()

    def reply(body):
        text = body["messages"][-1]["content"]
        seen[text] += 1
        return failures[seen[text] - 1] if seen[text] <= len(failures) else f"answer to {text}"

    return reply


def test_asks_as_the_interface_says_and_counts_tokens():
    with serving(lambda body: "one two three") as (url, server):
        generator, _ = client(url)
        (number, answer), = generator.complete([request("hi", seed=2**40 + 3)])
    assert number == 0 and (answer.text, answer.stopped) == ("one two three", True)
    assert (answer.prompt_tokens, answer.completion_tokens, answer.attempts) == (7, 3, 1)
    assert server.seen == [{"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.5,
                            "top_p": 0.9, "max_tokens": 20, "seed": 3, "top_k": 4}]


@pytest.mark.parametrize("failure", [(429, "slow down", {"Retry-After": "7"}), (500, "oops"), (503, ""), (524, ""),
                                     GARBAGE, CUT, (200, "{}"), (200, '{"choices": []}'),
                                     (200, '{"choices": [{"message": {"content": 5}}]}'), (200, "[1]")], ids=str)
def test_tries_again_with_growing_pauses(failure):
    with serving(failing_first([failure, failure])) as (url, server):
        generator, pauses = client(url)
        (_, answer), = generator.complete([request("hi")])
    assert answer.text == "answer to hi" and answer.attempts == 3
    assert len(server.seen) == 3 and len(pauses) == 2
    if failure[0] == 429:
        assert pauses == [7.0, 7.0]
    else:
        assert 1 <= pauses[0] <= 1.5 < 2 <= pauses[1] <= 3


def test_a_time_out_is_tried_again():
    with serving(failing_first([STALL])) as (url, _):
        generator, _ = client(url, Settings(concurrency=1, retries=1, timeout=0.2))
        (_, answer), = generator.complete([request("hi")])
    assert answer.text == "answer to hi" and answer.attempts == 2


def test_a_question_without_answer_is_lost_and_the_others_are_not():
    def reply(body):
        return (500, "no") if body["messages"][-1]["content"] == "bad" else "fine"

    with serving(reply) as (url, _):
        generator, _ = client(url)
        found = dict(generator.complete([request("a"), request("bad"), request("b")]))
    assert found[1].fault() == ("no-answer", "status 500") and found[1].attempts == 4
    assert [found[0].text, found[2].text] == ["fine", "fine"]


def test_a_dead_endpoint_ends_the_work():
    with serving(lambda body: (503, "down")) as (url, server):
        generator, _ = client(url, Settings(concurrency=2, retries=0))
        with pytest.raises(Failed, match="[56] questions after one another got no answer.*503"):  # two may come at once
            list(generator.complete([request(f"q{i}") for i in range(50)]))
    assert len(server.seen) < 10


def test_nobody_listens():
    with serving(lambda body: "x") as (url, _):
        pass
    generator, pauses = client(url, Settings(concurrency=1, retries=2))
    (_, answer), = generator.complete([request("hi")])
    assert answer.fault()[0] == "no-answer" and len(pauses) == 2


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_question_is_an_answer(status):
    with serving(lambda body: (status, "context length exceeded")) as (url, server):
        generator, _ = client(url)
        (_, answer), = generator.complete([request("hi")])
    assert answer.fault() == ("request-refused", f"status {status}: context length exceeded") and len(server.seen) == 1


def test_the_newer_name_of_the_limit_is_learned():
    def reply(body):
        return "yes" if "max_completion_tokens" in body else (400, "Use 'max_completion_tokens' instead.")

    with serving(reply) as (url, server):
        generator, _ = client(url, Settings(concurrency=1))
        texts = [answer.text for _, answer in generator.complete([request("a"), request("b")])]
    assert texts == ["yes", "yes"] and len(server.seen) == 3


@pytest.mark.parametrize("status", [401, 403, 404, 302])
def test_wrong_keys_and_addresses_end_the_work_at_once_and_what_flies_is_kept(status, tmp_path):
    def reply(body):
        return (status, "no") if body["messages"][-1]["content"] == "bad" else "fine"

    with serving(reply) as (url, _):
        generator, _ = client(url, Settings(concurrency=3))
        asker = Asker(generator, RequestLog(tmp_path / "log.jsonl"))
        with pytest.raises(Refused, match=f"status {status}"):
            asker([request("bad"), request("a"), request("b")])
    assert [answer.text for answer in RequestLog(tmp_path / "log.jsonl").answers.values()] == ["fine", "fine"]


def test_never_more_at_once_than_said():
    with serving(lambda body: "x") as (url, server):
        generator, _ = client(url)
        assert len(list(generator.complete([request(f"q{i}") for i in range(30)]))) == 30
    assert 1 <= server.most_at_once <= 3


def test_finish_reasons_thinking_and_missing_counts():
    bodies = iter([completion("cut", "length"), completion("x", "content_filter"),
                   {"choices": [{"message": {"content": "<think>\nhm\n</think>\nyes"}}]},
                   {"choices": [{"message": {"content": None}, "finish_reason": "stop"}], "usage": None}])
    with serving(lambda body: (200, json.dumps(next(bodies)))) as (url, _):
        generator, _ = client(url, Settings(concurrency=1))
        found = [answer for _, answer in generator.complete([request("hi", seed) for seed in range(4)])]
    assert [answer.fault()[0] for answer in found] == ["cut-off", "request-refused", "", "empty-answer"]
    assert found[2].text == "yes"
    assert found[2].prompt_tokens == request("hi").prompt_bound() and found[2].completion_tokens == 20


def test_the_key_is_sent_and_stands_nowhere(monkeypatch, tmp_path):
    monkeypatch.setenv("TINY_KEY", "sk-very-secret")

    def reply(body):
        return (422, "bad key sk-very-secret") if body["messages"][-1]["content"] == "odd" else "fine"

    with serving(reply) as (url, server):
        generator, _ = client(url, Settings(key_env="TINY_KEY"))
        asker = Asker(generator, RequestLog(tmp_path / "log.jsonl"))
        answers = asker([request("hi"), request("odd")])
    assert set(server.keys) == {"Bearer sk-very-secret"}
    assert "sk-very-secret" not in (tmp_path / "log.jsonl").read_text() + repr(answers) + repr(generator.identity)
    with serving(lambda body: (401, "key sk-very-secret is wrong")) as (url, _), pytest.raises(Refused) as caught:
        list(client(url, Settings(key_env="TINY_KEY"))[0].complete([request("hi")]))
    assert "sk-very-secret" not in caught.value.paragraph() and "***" in caught.value.paragraph()


@pytest.mark.parametrize(("url", "settings", "said"), [
    ("http://host/v1", HOW, "HOST/v1#MODEL"),
    ("http://name:word@host/v1#m", HOW, "more than host and path"),
    ("http://host/v1?key=abc#m", HOW, "more than host and path"),
    ("http://host/v1#m", Settings(key_env="SURELY_NOT_SET"), "SURELY_NOT_SET is not set"),
])
def test_wrong_addresses(url, settings, said):
    with pytest.raises(Refused, match=said) as caught:
        Endpoint(url, settings)
    assert "word" not in caught.value.paragraph().replace("words", "") and "abc" not in caught.value.paragraph()


def test_addresses_and_dates():
    assert Endpoint("https://host/v1/chat/completions#a/b", HOW).identity["name"] == "https://host/v1#a/b"
    assert is_loopback("http://localhost:1/v1") and is_loopback("http://[::1]/v1") and not is_loopback("http://10.0.0.1")
    assert _retry_after("3.5") == 3.5 and _retry_after(None) is None and _retry_after("soon") is None
    assert _retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
