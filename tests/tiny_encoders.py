"""Tiny encoders with the tokenizer classes of the real ones, built in memory from a seed. No network.

BERT's and DistilBERT's tokenizers cut into pieces of words (WordPiece), RoBERTa's into pieces of bytes; each puts its own
special tokens around a text or a pair.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from data_recipes.tagging import words_of

MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ("good bad fine poor great awful a the film is was order ships late today anna peter lives in paris london costs and "
         "not very number to").split()
KINDS = ("bert", "distilbert", "roberta")


def sentiment(count: int) -> list[dict]:
    """Rows of two classes that a word tells apart, with a column of groups."""
    words = {"pos": ("good", "great", "fine"), "neg": ("bad", "poor", "awful")}
    made = []
    for number in range(count):
        label = ("pos", "neg")[number % 2]
        text = f"the film is {words[label][number % 3]} and {WORDS[number % len(WORDS)]} number {number}"
        made.append({"text": text, "label": label, "place": "ab"[number % 4 // 2]})
    return made


def names_and_places(count: int) -> list[dict]:
    """Rows with spans of two types."""
    made = []
    for number in range(count):
        who, where = ("Anna", "Peter")[number % 2], ("Paris", "London")[number % 3 % 2]
        text = f"{who} {('lives in', 'ships to')[number % 5 % 2]} {where} today {number}."
        at = text.index(where)
        made.append({"text": text, "entities": [{"start": 0, "end": len(who), "label": "PER"},
                                                {"start": at, "end": at + len(where), "label": "LOC"}]})
    return made


def word_pieces(texts: Iterable[str] = (), kind: str = "bert"):
    """A BERT or DistilBERT tokenizer with the words of some texts, letters and digits."""
    from transformers import BertTokenizerFast, DistilBertTokenizerFast

    found = sorted({text[start:stop].lower() for text in texts for start, stop in words_of(text)} | set(WORDS))
    letters = [chr(code) for code in range(33, 127)]
    pieces = dict.fromkeys([*MARKS, *letters, *(f"##{letter}" for letter in letters), *found])
    made = DistilBertTokenizerFast if kind == "distilbert" else BertTokenizerFast
    return made(vocab={piece: place for place, piece in enumerate(pieces)}, do_lower_case=True, model_max_length=128)


def byte_pieces():
    """A RoBERTa tokenizer that merges nothing but a few words."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import RobertaTokenizerFast

    pieces = ["<pad>", "<s>", "</s>", "<unk>", "<mask>", *sorted(ByteLevel.alphabet())]  # ids as the tiny RoBERTa has them
    merges = [("Ġ", "g"), ("o", "o"), ("Ġg", "oo"), ("Ġgoo", "d")]
    pieces += ["".join(pair) for pair in merges]
    vocabulary = {piece: place for place, piece in enumerate(pieces)}
    return RobertaTokenizerFast(vocab=vocabulary, merges=merges, model_max_length=128)


def encoder(kind: str, vocabulary: int, *, seed: int = 0, width: int = 32, layers: int = 2, heads: int = 2, length: int = 64,
            pad: int = 0):
    """A masked-language model of the architecture, random from `seed`, without dropout."""
    import torch
    import transformers as t

    torch.manual_seed(seed)
    if kind == "distilbert":
        config = t.DistilBertConfig(vocab_size=vocabulary, dim=width, hidden_dim=2 * width, n_layers=layers, n_heads=heads,
                                    max_position_embeddings=length, dropout=0.0, attention_dropout=0.0, pad_token_id=pad,
                                    initializer_range=0.1)
        return t.DistilBertForMaskedLM(config).float()
    config_of, made = {"bert": (t.BertConfig, t.BertForMaskedLM), "roberta": (t.RobertaConfig, t.RobertaForMaskedLM)}[kind]
    config = config_of(vocab_size=vocabulary, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers,
                       num_attention_heads=heads, max_position_embeddings=length + (2 if kind == "roberta" else 0),
                       type_vocab_size=1 if kind == "roberta" else 2, hidden_dropout_prob=0.0,
                       attention_probs_dropout_prob=0.0, pad_token_id=pad, initializer_range=0.1)
    return made(config).float()


def save_encoder(folder: Path | str, kind: str = "bert", *, texts: Iterable[str] = ()) -> Path:
    """Writes an encoder's folder, as somebody has it who downloaded the real one, and returns it."""
    tokens = byte_pieces() if kind == "roberta" else word_pieces(texts, kind)
    model = encoder(kind, len(tokens), length=128)
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)
    return Path(folder)
