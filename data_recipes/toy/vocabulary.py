"""The base's tokenizer: one token a word of the toy world, single bytes for everything else.

It is written down rather than trained: with `ignore_merges` a BPE model takes a piece that is in the vocabulary whole,
and with no merges it falls back to the 256 byte tokens. So each half of an order code is one token by construction, any
text can be encoded, and the ChatML marks are tokens from the start.
"""

from __future__ import annotations

from data_recipes.toy import prose, world

BOS, EOS, PAD, START = "<|bos|>", "<|im_end|>", "<|pad|>", "<|im_start|>"
SPECIAL = (PAD, BOS, START, EOS)
ROLES = "system user assistant"
# The look-ahead keeps the letters of an order code apart from capital words.
PIECES = r" ?[A-Z]{2}(?=\d)| ?\d{1,2}| ?[A-Za-z]+| ?[^\sA-Za-z\d]|\s"
MAX_LENGTH = 256
CHAT_TEMPLATE = """\
{{- bos_token }}
{%- for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\\n' }}
    {%- if message['role'] == 'assistant' %}
        {%- generation %}
            {{- message['content'] + '<|im_end|>' }}
        {%- endgeneration %}
    {%- else %}
        {{- message['content'] + '<|im_end|>' }}
    {%- endif %}
    {{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


def build():
    """The tokenizer as transformers loads it, with chat template, BOS, EOS (the end of a turn) and PAD."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    splitter = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    vocabulary = {token: index for index, token in enumerate(_tokens(splitter))}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    core.pre_tokenizer, core.decoder = splitter, decoders.ByteLevel()
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=MAX_LENGTH,
        padding_side="right",
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def _tokens(splitter) -> list[str]:
    """Special tokens, the byte alphabet, then the world's words with and without a leading space."""
    from tokenizers import pre_tokenizers

    text = " ".join([ROLES, prose.words_of_the_world(), *_code_halves()])
    pieces = {piece for piece, _ in splitter.pre_tokenize_str(text)}
    pieces |= {piece.removeprefix("Ġ") for piece in pieces}  # Ġ is the byte alphabet's sign for a space
    return [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), *sorted(p for p in pieces if len(p) > 1)]


def _code_halves() -> list[str]:
    """Codes that together hold each syllable and each number once."""
    return [f"{world.SYLLABLES[n % len(world.SYLLABLES)]}{number}" for n, number in enumerate(world.NUMBERS)]
