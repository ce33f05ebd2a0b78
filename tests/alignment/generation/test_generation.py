"""Answers do not depend on padding, batch size or the folder's own settings; stopping and refusals."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from peft import LoraConfig, get_peft_model

from alignment.generation.batched import batches, folder_settings, generate, pad_left, pick, rooms, stream
from alignment.generation.decoding import Decoding, row_seed
from data_recipes.errors import Refused
from tests.alignment.stand_ins import Held
from tests.tiny import gpt2, llama


def prompts(count: int = 7) -> list[list[int]]:
    draw = torch.Generator().manual_seed(3)
    return [torch.randint(4, 260, (3 + 5 * i,), generator=draw).tolist() for i in range(count)]


def by_hand(model, prompt: list[int], steps: int, stop_ids: tuple[int, ...] = (2,)) -> list[int]:
    """Greedy decoding without padding, cache or `generate`."""
    ids = list(prompt)
    for _ in range(steps):
        with torch.inference_mode():
            token = int(model(torch.tensor([ids])).logits[0, -1].argmax())
        if token in stop_ids:
            break
        ids.append(token)
    return ids[len(prompt) :]


@pytest.mark.parametrize("shape", [llama, gpt2])
def test_a_padded_batch_answers_greedily_as_each_row_alone(shape):
    held = Held(shape(seed=1))
    made = generate(held, prompts(), max_new_tokens=9, batch_size=4)
    assert [completion.ids for completion in made] == [by_hand(held.model, prompt, 9) for prompt in prompts()]


@pytest.mark.parametrize("shape", [llama, gpt2])
def test_a_sampled_answer_does_not_depend_on_the_batch_size(shape):
    held = Held(shape(seed=1))
    settings = {"max_new_tokens": 12, "temperature": 0.9, "top_p": 0.95, "top_k": 40, "seed": 5}
    one = generate(held, prompts(), batch_size=1, **settings)
    assert (
        one
        == generate(held, prompts(), batch_size=3, **settings)
        == generate(held, prompts(), batch_size=64, **settings)
    )
    assert one != generate(held, prompts(), batch_size=3, **(settings | {"seed": 6}))


def test_one_seed_a_row_gives_what_the_shared_seed_derives():
    held, seeds = Held(llama()), [row_seed(8, i) for i in range(7)]
    derived = generate(held, prompts(), max_new_tokens=5, temperature=1.0, seed=8)
    assert derived == generate(held, prompts(), max_new_tokens=5, temperature=1.0, seed=seeds)
    assert derived[3:] == generate(held, prompts()[3:], max_new_tokens=5, temperature=1.0, seed=seeds[3:])


def test_any_stop_id_ends_the_answer_and_is_cut_off():
    model = llama(seed=1)
    free = [by_hand(model, prompt, 8, ()) for prompt in prompts()]
    stops = (free[0][2], free[3][4])
    made = generate(Held(model, stops), prompts(), max_new_tokens=8, batch_size=4)
    assert [completion.ids for completion in made] == [by_hand(model, prompt, 8, stops) for prompt in prompts()]
    assert made[0].stopped and made[0].tokens == len(made[0].ids) <= 2
    assert all(completion.stopped == (completion.tokens < 8) for completion in made)


def test_the_folders_generation_config_changes_nothing_and_is_left_as_it_was():
    model = llama(seed=1)
    plain = generate(Held(model), prompts(), max_new_tokens=8)
    model.generation_config.update(
        repetition_penalty=5.0, min_new_tokens=4, suppress_tokens=plain[0].ids[:1], do_sample=True
    )
    assert generate(Held(model), prompts(), max_new_tokens=8) == plain
    assert folder_settings(model)["repetition_penalty"] == 5.0
    wrapped = get_peft_model(model, LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM"))
    assert generate(Held(wrapped), prompts(), max_new_tokens=8) == plain
    assert wrapped.generation_config.repetition_penalty == model.generation_config.repetition_penalty == 5.0


def test_prompts_without_room_are_refused_and_short_room_is_used_to_its_end():
    held = Held(gpt2(), stop_ids=())
    with pytest.raises(Refused, match=r"data.jsonl:2: the prompt has 256 tokens .* context is 256"):
        generate(held, [[5, 6], [7] * 256], where=["data.jsonl:1", "data.jsonl:2"])
    with pytest.raises(Refused, match="prompt 1: the prompt has no tokens"):
        generate(held, [[]])
    made = generate(held, [[5, 6], [7] * 253, [8] * 254], max_new_tokens=10)
    assert [(completion.tokens, completion.stopped) for completion in made] == [(10, False), (3, False), (2, False)]
    assert rooms(held.model, [[5] * 100], 1000) == [156]


def test_batches_hold_like_lengths_longest_first_and_one_budget():
    assert batches([3, 9, 4, 8, 1], [5, 5, 5, 5, 5], 2) == [[1, 3], [2, 0], [4]]
    assert batches([3, 9, 4], [5, 2, 5], 8) == [[2, 0], [1]]
    with pytest.raises(Refused, match="batch_size"):
        batches([1], [1], 0)


def test_padding_is_on_the_left():
    ids_BT, keep_BT = pad_left([[5], [6, 7, 8]], 0)
    assert ids_BT.tolist() == [[0, 0, 5], [6, 7, 8]] and keep_BT.tolist() == [[0, 0, 1], [1, 1, 1]]


def test_pick_by_hand():
    logits_BV = torch.tensor([[0.5, 0.0, 0.25, 0.25]]).log().expand(5, -1)
    assert pick(logits_BV, torch.tensor([0.0, 0.49, 0.5, 0.76, 1 - 2**-24])).tolist() == [0, 0, 2, 3, 3]
    ends_in_zero = torch.tensor([[0.3, 0.7, 0.0]]).log()
    assert pick(ends_in_zero, torch.tensor([1 - 2**-24])).tolist() == [1]


def test_an_even_grid_of_random_numbers_gives_the_distribution():
    logits_V = torch.randn(50, generator=torch.Generator().manual_seed(0))
    count = 20_000
    grid_B = (torch.arange(count) + 0.5) / count
    seen = Counter(pick(logits_V.expand(count, -1), grid_B).tolist())
    expected = logits_V.double().softmax(0)
    assert all(abs(seen[token] / count - float(expected[token])) < 2 / count for token in range(50))


def test_greedy_is_the_limit_of_sampling_and_top_k_of_one():
    held = Held(llama(seed=1))
    greedy = generate(held, prompts(), max_new_tokens=6)
    assert generate(held, prompts(), max_new_tokens=6, temperature=1.0, top_k=1) == greedy
    assert generate(held, prompts(), max_new_tokens=6, temperature=1e-4) == greedy
    assert generate(held, prompts(), max_new_tokens=6, temperature=1.0, top_p=1e-6) == greedy


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_streamed_pieces_make_the_answer_that_a_batch_gives(temperature):
    held, pieces = Held(llama(seed=1)), []
    settings = Decoding(max_new_tokens=20, temperature=temperature, seed=4)
    made = stream(held, prompts()[2], settings, on_text=pieces.append)
    assert made == generate(held, [prompts()[2]], max_new_tokens=20, temperature=temperature, seed=4)[0]
    assert "".join(pieces) == made.text


def test_a_stream_that_is_stopped_leaves_the_model_usable():
    held = Held(get_peft_model(llama(seed=1), LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM")))
    before = generate(held, prompts(2), max_new_tokens=6)

    def stop(_piece):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stream(held, prompts()[0], Decoding(), on_text=stop)
    assert generate(held, prompts(2), max_new_tokens=6) == before


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1}, {"top_p": 0}, {"top_p": 1.1}, {"top_k": -1}, {"max_new_tokens": 0}]
)
def test_settings_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(Refused, match=next(iter(wrong))):
        Decoding(**wrong)


def test_settings_say_themselves():
    assert Decoding().describe() == "greedy, at most 256 new tokens"
    said = Decoding(64, 0.7, 0.9, 0, 3).describe()
    assert said == "sampling at temperature 0.7, top_p 0.9, top_k off, seed 3, at most 64 new tokens"
