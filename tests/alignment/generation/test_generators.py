import pytest

from alignment.generation.generators import LocalModel, open_generator
from data_recipes.augment.asking import Asker
from data_recipes.augment.endpoint import Endpoint
from data_recipes.augment.generator import Request, Sampling
from data_recipes.augment.request_log import Recorded, RequestLog
from data_recipes.errors import Refused
from tests import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.save_base(tmp_path_factory.mktemp("models") / "base")


def request(text: str, seed: int = 1, **sampling) -> Request:
    return Request(({"role": "user", "content": text},), Sampling(**{"max_new_tokens": 6, **sampling}), seed)


def test_the_names_of_generators(folder, tmp_path):
    assert isinstance(open_generator(str(folder)), LocalModel)
    assert isinstance(open_generator("https://host/v1#m"), Endpoint)
    Asker(open_generator(str(folder)), RequestLog(tmp_path / "log.jsonl"))([request("hi")])
    assert isinstance(open_generator(f"replay:{tmp_path / 'log.jsonl'}"), Recorded)
    with pytest.raises(Refused, match="there is no folder"):
        open_generator("./nowhere")


def test_a_local_model_answers_the_same_in_any_batch_and_in_any_company(folder):
    requests = [request(text, seed) for seed, text in enumerate(("a", "something much longer", "b", "c"))]
    requests += [request("a", 9, temperature=0.0), request("d", 9, max_new_tokens=3)]
    alone = [Asker(LocalModel(str(folder), {}, 1))([one])[0] for one in requests]
    together = Asker(LocalModel(str(folder), {}, 4))(requests)
    assert [answer.text for answer in alone] == [answer.text for answer in together]
    assert all(answer.prompt_tokens > 5 and answer.completion_tokens <= 6 for answer in together)
    assert together[5].completion_tokens <= 3


def test_what_does_not_fit_is_refused_by_itself(folder):
    found = Asker(LocalModel(str(folder), {}, 4))([request("x" * 600), request("a")])
    assert found[0].fault()[0] == "request-refused" and "context is 512" in found[0].refused
    assert not found[1].refused


def test_weights_are_loaded_for_a_question_and_not_for_a_known_answer(folder, tmp_path):
    first = LocalModel(str(folder), {}, 2)
    assert first._loaded is None
    said = Asker(first, RequestLog(tmp_path / "log.jsonl"))([request("a")])
    assert first._loaded is not None
    first.close()
    second = LocalModel(str(folder), {}, 2)
    known = Asker(second, RequestLog(tmp_path / "log.jsonl"))([request("a")])
    assert second._loaded is None and known[0].text == said[0].text
