import pytest

from data_recipes.errors import Failed, Refused
from data_recipes.records import Comparison, Message
from data_recipes.render import Renderer, prepare_tokenizer
from reward.learned import RewardModel
from reward.scalar import score
from tests import tiny
from tests.reward.test_scalar import scorer

PROMPT = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def reward():
    tokenizer = tiny.tokenizer()
    prepare_tokenizer(tokenizer)
    return RewardModel(scorer(tiny.llama()), Renderer(tokenizer))


def test_an_answer_is_scored_as_it_was_trained(reward):
    prompt = tuple(Message(**turn) for turn in PROMPT)
    pair = reward.renderer.comparison(
        Comparison(prompt, (Message("assistant", "good"),), (Message("assistant", "bad"),))
    )
    assert reward.row(PROMPT, "good") == pair.prompt_ids + pair.chosen_ids
    trained = score(reward.model, [pair.prompt_ids + pair.chosen_ids, pair.prompt_ids + pair.rejected_ids], pad_id=0)
    said = [[{"role": "assistant", "content": text}] for text in ("good", "bad")]
    assert reward([PROMPT, PROMPT], said, code=["x", "y"]) == trained


def test_without_a_stop_token_the_last_word_is_scored(reward):
    assert reward.row(PROMPT, "good", stopped=False) == reward.row(PROMPT, "good")[:-1]


def test_an_empty_answer_is_a_stop_token(reward):
    prompt = reward.renderer.prompt(PROMPT)
    assert reward.row(PROMPT, "") == prompt + reward.renderer.stop_ids[:1]
    assert reward.row(PROMPT, " ", stopped=False) == prompt


def test_a_template_that_refuses_is_named():
    picky = "{% if messages[0]['content'] == 'Be kind.' %}{{ raise_exception('no') }}{% endif %}"
    tokenizer = tiny.tokenizer(picky + tiny.CHATML)
    prepare_tokenizer(tokenizer)
    with pytest.raises(Refused, match="my reward"):
        RewardModel(scorer(tiny.llama()), Renderer(tokenizer), name="my reward").row(PROMPT, "good")


def test_a_row_beyond_the_context_is_refused_and_counted(reward):
    said = [[{"role": "assistant", "content": text}] for text in ("good", "long " * 120)]
    with pytest.raises(Refused, match="1 of 2 rows are longer than this reward model's context") as refused:
        reward([PROMPT, PROMPT], said)
    assert "row 2" in refused.value.paragraph() and "at most 512 tokens" in refused.value.paragraph()


def test_a_score_that_is_no_number_is_named_with_its_row(reward):
    said = [[{"role": "assistant", "content": text}] for text in ("good", "bad")]
    broken = RewardModel(scorer(tiny.llama()), reward.renderer, name="my reward")
    broken.model.score.weight.data.fill_(float("nan"))
    with pytest.raises(Failed, match="the score is nan") as failed:
        broken([PROMPT, PROMPT], said, where=["rows.jsonl:3", "rows.jsonl:8"])
    assert "my reward, rows.jsonl:3 ('good')" in failed.value.where
