"""Tiny tokenizers and models, built in memory from a seed: what every test trains and loads. No network."""

from __future__ import annotations

from pathlib import Path

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ["<pad>", "<s>", "<|im_end|>", "<|im_start|>"]


def tokenizer(template: str | None = CHATML, *, bos: bool = False):
    """A byte-level tokenizer of 260 tokens: any text is encoded, one token a byte."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(SPECIAL + alphabet)}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(SPECIAL)
    if bos:
        core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="<|im_end|>", bos_token="<s>" if bos else None
    )
    made.chat_template = template
    return made


def llama(
    vocabulary: int = 260, *, seed: int = 0, layers: int = 2, width: int = 32, tied: bool = True, spread: float = 0.02,
    positions: int = 512,
):
    """A Llama-shaped model of some 30,000 parameters, float32, random from `seed`.

    With a `spread` of 0.02 its head can say little but the same probability for all tokens; 0.2 lets an adapter learn.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        tie_word_embeddings=tied,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        attention_dropout=0.0,
        initializer_range=spread,
    )
    return LlamaForCausalLM(config).float()


def gpt2(vocabulary: int = 260, *, seed: int = 0):
    """A GPT-2-shaped model (learned positions, Conv1D layers, untied biases), float32."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=vocabulary,
        n_embd=32,
        n_layer=2,
        n_head=2,
        n_positions=256,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return GPT2LMHeadModel(config).float()


def t5_tokenizer(template: str | None = None):
    """As `tokenizer`, shaped like T5's: <pad>, </s>, <unk> and two sentinels; </s> is put behind every text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "</s>", "<unk>", "<extra_id_1>", "<extra_id_0>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(special + alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(special)
    core.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    made = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        extra_special_tokens=["<extra_id_0>", "<extra_id_1>"],
    )  # fmt: skip
    made.chat_template = template
    return made


def t5(vocabulary: int = 261, *, seed: int = 0, width: int = 32, layers: int = 2, gated: bool = False, dropout: float = 0.1):
    """A T5-shaped encoder-decoder model of some 60,000 parameters, float32; `gated` is the shape of T5 1.1 and Flan-T5."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=vocabulary,
        d_model=width,
        d_kv=width // 4,
        d_ff=2 * width,
        num_layers=layers,
        num_decoder_layers=layers,
        num_heads=4,
        dropout_rate=dropout,
        feed_forward_proj="gated-gelu" if gated else "relu",
        tie_word_embeddings=not gated,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )
    return T5ForConditionalGeneration(config).float()


def bart(vocabulary: int = 261, *, seed: int = 0):
    """A BART-shaped encoder-decoder model (learned positions, biases), float32."""
    import torch
    from transformers import BartConfig, BartForConditionalGeneration

    torch.manual_seed(seed)
    config = BartConfig(
        vocab_size=vocabulary,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=128,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=1,
        decoder_start_token_id=1,
        forced_eos_token_id=1,
    )
    return BartForConditionalGeneration(config).float()


def save_base(folder: Path | str, *, model=None, tokens=None) -> Path:
    """Writes a base model folder (model and tokenizer) and returns it."""
    folder = Path(folder)
    (model or llama()).save_pretrained(folder)
    (tokens or tokenizer()).save_pretrained(folder)
    return folder


QUESTIONS = ["Where is {}?", "How do I return {}?", "When does {} ship?", "Can I change {}?"]


def demonstrations(count: int, *, seed: int = 0) -> list[dict]:
    """Chat rows with answers of very different lengths, deterministic."""
    rows = []
    for index in range(count):
        thing = f"order {(index * 7 + seed) % 97}"
        question = QUESTIONS[index % len(QUESTIONS)].format(thing)
        answer = f"Hello! {thing} is fine." + " Thank you." * (index % 5)
        rows.append({"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]})
    return rows


def comparisons(count: int, *, seed: int = 0) -> list[dict]:
    """Preference rows: polite chosen, rude rejected answers."""
    rows = []
    for index in range(count):
        thing = f"order {(index * 11 + seed) % 89}"
        question = QUESTIONS[index % len(QUESTIONS)].format(thing)
        rows.append(
            {
                "prompt": [{"role": "user", "content": question}],
                "chosen": [{"role": "assistant", "content": f"Hello! {thing} is fine." + " Thank you." * (index % 4)}],
                "rejected": [{"role": "assistant", "content": f"Go away, {thing} no." + " Bah." * (index % 3)}],
            }
        )
    return rows
