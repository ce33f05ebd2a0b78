"""Tiny tokenizers of real shapes, built in memory: byte-level ones that split text as Llama 3 and Qwen do, and one that
marks blanks as SentencePiece does. No network."""

from __future__ import annotations

import re

# how Llama 3, Qwen and GPT-4o cut a text before merging; newlines stay together, so that "\n\n" can be one token
WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
MERGES = [("Ċ", "Ċ"), ("Ġ", "a"), ("l", "l"), ("Ġa", "n")]
SPECIAL = re.compile(
    r"<\|[^|<>' ]+\|>|<｜[^｜]+｜>|</?think>|</?tool_call>|</?s>|\[/?INST\]|<(?:start|end)_of_turn>|<turn\|>|<\|turn>"
    r"|<\|tool_call>|<tool_call\|>|<\|tool_response>|<tool_response\|>|<\|channel>|<channel\|>|\[gMASK\]|<sop>"
)
ORDINARY = ("<think>", "</think>", "<tool_call>", "</tool_call>")  # added to Qwen's vocabulary, but not special


def marks_of(template: str) -> list[str]:
    """The texts in a template that a real tokenizer has as single tokens."""
    return sorted(set(SPECIAL.findall(template)))


def byte_level(
    template: str | None, marks: list[str] | None = None, *, own_bos: bool = False, pad: str | None = "<pad>"
):
    """A byte-level BPE tokenizer with a few merges ("\\n\\n" among them) and the template's marks as special tokens.

    Args:
        own_bos: whether the tokenizer itself puts <bos> before a text.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<bos>", "<eos>"] + (marks_of(template or "") if marks is None else marks)
    tokens = special + sorted(pre_tokenizers.ByteLevel.alphabet()) + [left + right for left, right in MERGES]
    core = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=MERGES))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([token for token in special if token not in ORDINARY])
    core.add_tokens([token for token in special if token in ORDINARY])
    if own_bos:
        core.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    made = PreTrainedTokenizerFast(tokenizer_object=core, pad_token=pad, bos_token="<bos>", eos_token="<eos>")
    made.chat_template = template
    return made


def metaspace(template: str | None, marks: list[str] = ()):
    """A tokenizer that writes a blank before each text and "▁" for blanks, as Llama 2, Mistral and Gemma do."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<unk>", "<s>", "</s>", *marks]
    letters = [chr(code) for code in range(32, 127)] + ["▁", "\n", "é"]
    tokens = special + [letter for letter in letters if letter not in special] + ["▁a", "▁h", "▁t"]
    merges = [("▁", "a"), ("▁", "h"), ("▁", "t")]
    core = Tokenizer(
        models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges, unk_token="<unk>")
    )
    core.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    core.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    core.add_special_tokens(special)
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    made.chat_template = template
    return made


def pieces(tokenizer, ids: list[int], trained: list[bool]) -> list[str]:
    """The text of each run of trained tokens."""
    runs, current = [], []
    for token, flag in [*zip(ids, trained, strict=True), (None, False)]:
        if flag:
            current.append(token)
        elif current:
            runs.append(tokenizer.decode(current))
            current = []
    return runs
