"""Batched generation: the same answers whatever the batch.

Prompts are padded on the left, and positions are counted from each row's first real token, so that a model with learned
positions (GPT-2) answers as it does alone; an encoder reads them padded on the right, as in training. Each row draws its
random numbers from its own seed and picks tokens by the inverse of the cumulated distribution, so that a sampled answer
depends neither on the batch size nor on its neighbours (up to the rounding of the logits, which differs between batch
shapes).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from alignment import libraries  # noqa: F401  (first: the heavy ones load faster by it)

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    EncoderDecoderCache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.generation.streamers import BaseStreamer

from alignment.generation.decoding import Decoding, row_seed
from data_recipes.errors import Refused
from reward.scalar import pad_right


@dataclass(frozen=True)
class Completion:
    """One answer.

    text: decoded without special tokens. ids: without the stop token. stopped: a stop token ended it (else the room or
    `max_new_tokens` did). tokens: number of ids. stop: the token that ended it.
    """

    text: str
    ids: list[int]
    stopped: bool
    tokens: int
    stop: int | None = None


def generate(
    loaded: Any,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int = 256,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    seed: int | Sequence[int] = 0,
    batch_size: int = 16,
    renderer: Any = None,
    where: Sequence[str] | None = None,
    on_batch: Callable[[int, int], None] | None = None,
) -> list[Completion]:
    """Answers `prompts` (token ids that end where the answer begins), in their order.

    Args:
        loaded: what `models.load_policy` gives: model in eval mode, tokenizer, renderer.
        max_new_tokens, temperature, top_p, top_k: as in `Decoding`. A row with less room than `max_new_tokens` left in
            the model's context is cut there.
        seed: one seed, from which row i gets `row_seed(seed, i)`; or one seed a row.
        batch_size: rows at once; it changes no answer.
        renderer: stop ids, pad id and decoding; `loaded.renderer()` unless given.
        where: names of the rows for errors (`file:line`).
        on_batch: called with (rows done, tokens made) after each batch.

    Raises:
        Refused: a prompt is empty, or leaves no room in the model's context.
    """
    decoding = Decoding(max_new_tokens, temperature, top_p, top_k, seed if isinstance(seed, int) else 0)
    renderer = renderer or loaded.renderer()
    seeds = [row_seed(seed, i) for i in range(len(prompts))] if isinstance(seed, int) else list(seed)
    if len(seeds) != len(prompts):
        raise ValueError(f"{len(prompts)} prompts and {len(seeds)} seeds")
    budgets = rooms(loaded.model, prompts, max_new_tokens, where)
    answers: dict[int, Completion] = {}
    for rows in batches([len(prompt) for prompt in prompts], budgets, batch_size):
        made = _batch(
            loaded.model, renderer, [prompts[i] for i in rows], decoding, budgets[rows[0]], [seeds[i] for i in rows]
        )
        answers.update(zip(rows, made, strict=True))
        if on_batch:
            on_batch(len(answers), sum(completion.tokens for completion in made))
    return [answers[i] for i in range(len(prompts))]


def stream(
    loaded: Any, prompt: Sequence[int], decoding: Decoding, *, renderer: Any = None, on_text: Callable[[str], None]
) -> Completion:
    """Answers one prompt and hands each new piece of text to `on_text` as soon as it is certain.

    `on_text` may raise to stop the answer (Ctrl-C does); the exception reaches the caller.
    """
    renderer = renderer or loaded.renderer()
    room = rooms(loaded.model, [prompt], decoding.max_new_tokens)[0]
    streamer = _Pieces(renderer, on_text)
    seeds = [row_seed(decoding.seed, 0)]
    completion = _batch(loaded.model, renderer, [prompt], decoding, room, seeds, streamer)[0]
    streamer.rest(completion.text)
    return completion


def context_length(model: Any) -> int | None:
    """Positions that the model has, prompt and answer together (an encoder-decoder has as many for each of the two); None
    where its config names none, as T5's does."""
    config = model.config.get_text_config(decoder=True)
    return getattr(config, "max_position_embeddings", None)


def reads_apart(model: Any) -> bool:
    """Whether an encoder reads the prompt and a decoder writes the answer, so that they share no positions."""
    return bool(model.config.is_encoder_decoder)


def rooms(
    model: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int, where: Sequence[str] | None = None
) -> list[int]:
    """Tokens that each row may still make. Raises Refused where a prompt is empty or leaves no room."""
    context, apart = context_length(model), reads_apart(model)
    found = []
    for index, prompt in enumerate(prompts):
        name = where[index] if where else f"prompt {index + 1}"
        if not len(prompt):
            raise Refused("the prompt has no tokens", where=name)
        longest = None if context is None else context if apart else context - 1
        if longest is not None and len(prompt) > longest:
            raise Refused(
                f"the prompt has {len(prompt)} tokens and leaves no room for an answer",
                where=name,
                expected=f"at most {longest} tokens, since the model's context is {context}",
                do="Shorten or drop the row.",
            )
        left = max_new_tokens if context is None else context - 1 if apart else context - len(prompt)
        found.append(min(max_new_tokens, left))
    return found


def batches(lengths: Sequence[int], budgets: Sequence[int], batch_size: int) -> list[list[int]]:
    """Row numbers in batches of like length, the longest first (it shows at once whether memory suffices).

    Rows of one batch have the same budget: a finished row goes on taking positions until its batch is done, and past
    the context a learned position does not exist.

    Raises:
        Refused: a batch size below 1.
    """
    if batch_size < 1:
        raise Refused(f"batch_size cannot be {batch_size}", where="batch_size", expected="1 or more")
    order = sorted(range(len(lengths)), key=lambda i: (-budgets[i], -lengths[i], i))
    made: list[list[int]] = []
    for row in order:
        if made and len(made[-1]) < batch_size and budgets[made[-1][0]] == budgets[row]:
            made[-1].append(row)
        else:
            made.append([row])
    return made


def pad_left(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Token ids (B, T) padded on the left, and keep (B, T): 1 where a token counts."""
    width = max(map(len, prompts))
    ids_BT = torch.tensor([[pad_id] * (width - len(prompt)) + list(prompt) for prompt in prompts])
    keep_BT = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return ids_BT, keep_BT


def pad_prompts(prompts: Sequence[Sequence[int]], pad_id: int, *, left: bool) -> tuple[Tensor, Tensor]:
    """As `pad_left`, or padded on the right."""
    if left:
        return pad_left(prompts, pad_id)
    made = pad_right([list(prompt) for prompt in prompts], pad_id)
    return made["input_ids"], made["attention_mask"]


def pick(logits_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """Tokens (B,) drawn from softmax(logits) by the inverse of its cumulated distribution at `uniform_B` in [0, 1).

    A token of probability 0 is never picked: the first place where the sum exceeds u is one that adds to it.
    """
    assert logits_BV.ndim == 2 and uniform_B.shape == logits_BV.shape[:1]
    summed_BV = logits_BV.float().softmax(-1).cumsum(-1)
    total_B1 = summed_BV[:, -1:]  # not exactly 1 in float32
    found_B1 = torch.searchsorted(summed_BV, uniform_B[:, None] * total_B1, right=True)
    last_B1 = torch.searchsorted(summed_BV, total_B1.contiguous())
    return torch.minimum(found_B1, last_B1)[:, 0]


class RowSampler(LogitsProcessor):
    """Warps the logits, then leaves one token a row: the one drawn with the row's own random number."""

    def __init__(self, decoding: Decoding, seeds: Sequence[int], steps: int) -> None:
        self.step = 0
        self.uniform_BS = torch.stack([torch.rand(steps, generator=torch.Generator().manual_seed(s)) for s in seeds])
        self.warpers = [TemperatureLogitsWarper(float(decoding.temperature))]
        self.warpers += [TopKLogitsWarper(decoding.top_k)] if decoding.top_k else []
        self.warpers += [TopPLogitsWarper(decoding.top_p)] if decoding.top_p < 1 else []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (B, V) with 0 at the drawn token and -inf elsewhere, which the greedy search then takes."""
        for warper in self.warpers:
            scores = warper(input_ids, scores)
        uniform_B = self.uniform_BS[:, self.step].to(scores.device)
        self.step += 1
        return torch.full_like(scores, float("-inf")).scatter(1, pick(scores, uniform_B)[:, None], 0.0)


def _batch(
    model: Any,
    renderer: Any,
    prompts: list[Sequence[int]],
    decoding: Decoding,
    room: int,
    seeds: list[int],
    streamer: BaseStreamer | None = None,
) -> list[Completion]:
    apart = reads_apart(model)
    ids_BT, keep_BT = pad_prompts(prompts, renderer.pad_id, left=not apart)
    settings = GenerationConfig(
        max_new_tokens=room, do_sample=False, eos_token_id=list(renderer.stop_ids) or None, pad_token_id=renderer.pad_id,
        decoder_start_token_id=model.config.decoder_start_token_id if apart else None,
    )
    sampler = [] if decoding.greedy else [RowSampler(decoding, seeds, room)]
    with torch.inference_mode(), only_our_settings(model):
        made_BT = model.generate(
            input_ids=ids_BT.to(model.device),
            attention_mask=keep_BT.to(model.device),
            generation_config=settings,
            logits_processor=LogitsProcessorList(sampler),
            streamer=streamer,
            # transformers makes as many layers of cache as the encoder has, and some T5s have a deeper decoder
            **({"past_key_values": EncoderDecoderCache(DynamicCache(), DynamicCache())} if apart else {}),
        )
    begun = 1 if apart else ids_BT.shape[1]  # a decoder begins with its start token alone
    return [_completion(row, renderer) for row in made_BT[:, begun:].tolist()]


def _completion(ids: list[int], renderer: Any) -> Completion:
    """Cuts a row at its first stop token; what follows there is padding."""
    end = next((place for place, token in enumerate(ids) if token in renderer.stop_ids), None)
    kept = ids[:end]
    return Completion(renderer.completion_text(kept), kept, end is not None, len(kept), None if end is None else ids[end])


@contextlib.contextmanager
def only_our_settings(model: Any) -> Iterator[None]:
    """Sets the model's own generation config aside: transformers fills whatever we leave open from it (a repetition
    penalty, a minimum length), and PEFT copies the outer model's onto the inner one."""
    holders = [model] + ([model.get_base_model()] if hasattr(model, "peft_config") else [])
    before = [holder.generation_config for holder in holders]
    for holder in holders:
        holder.generation_config = GenerationConfig()
    try:
        yield
    finally:
        for holder, config in zip(holders, before, strict=True):
            holder.generation_config = config


def folder_settings(model: Any) -> dict:
    """What the folder's generation config would have changed; printed, since we do not apply it."""
    if model.generation_config is None:
        return {}
    harmless = {"eos_token_id", "bos_token_id", "pad_token_id", "decoder_start_token_id", "transformers_version"}
    plain = GenerationConfig._get_default_generation_params()
    return {
        key: value
        for key, value in model.generation_config.to_diff_dict().items()
        if key not in harmless and not key.startswith("_") and value not in (None, False) and value != plain.get(key)
    }


class _Pieces(BaseStreamer):
    """Turns tokens into pieces of text. Half a character decodes to U+FFFD: such an end waits for its other half."""

    def __init__(self, renderer: Any, on_text: Callable[[str], None]) -> None:
        self.renderer, self.on_text = renderer, on_text
        self.ids: list[int] = []
        self.shown = ""
        self.in_prompt = True

    def put(self, value: Tensor) -> None:
        if self.in_prompt:  # the first call brings the prompt
            self.in_prompt = False
            return
        self.ids += value.flatten().tolist()
        self.rest(self.renderer.completion_text(self.ids).rstrip("\ufffd"))

    def rest(self, text: str) -> None:
        """Shows what `text` has beyond what was shown; all of it on a new line where its beginning has changed (a
        reasoning block is taken out once it is whole)."""
        if not text.startswith(self.shown):
            self.on_text("\n")
            self.shown = ""
        if len(text) > len(self.shown):
            self.on_text(text[len(self.shown) :])
            self.shown = text

    def end(self) -> None:
        """Nothing is held back here; `rest` shows the end."""
