"""The families that the table of kinds is made for, as tiny models in memory: three decoders, three encoders, one of both."""

from __future__ import annotations

from functools import partial

from tests import tiny
from tests.tiny_encoders import KINDS, encoder


def qwen(vocabulary: int = 260, *, seed: int = 0, width: int = 32):
    """A Qwen-2-shaped model (biases on queries, keys and values), float32, random from `seed`."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=None, eos_token_id=2,
        pad_token_id=0,
    )  # fmt: skip
    return Qwen2ForCausalLM(config).float()


def gpt2(vocabulary: int = 260, *, seed: int = 0, width: int = 32):
    """`tiny.gpt2` in another width, without dropout."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=vocabulary, n_embd=width, n_layer=2, n_head=2, n_positions=256, bos_token_id=1, eos_token_id=2,
        pad_token_id=0, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    return GPT2LMHeadModel(config).float()


DECODERS = {"llama": partial(tiny.llama, spread=0.2), "qwen": qwen, "gpt2": gpt2}
ENCODERS = {kind: partial(encoder, kind, 260) for kind in KINDS}
FAMILIES = {**DECODERS, **ENCODERS, "t5": tiny.t5}
