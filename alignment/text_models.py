"""Models that look at texts for `align data audit`: vectors of an encoder, probabilities of a toxicity classifier."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from alignment.sources import resolve
from data_recipes.errors import Refused

BATCH, LONGEST = 16, 512  # texts at once; tokens of a text that are read
TOXIC_LABEL = re.compile(r"(?<!non)(?<!not)(?<!non[-_ ])(?<!not[-_ ])(?:toxi|hate|offens|insult|obscen|threat|abus)",
                         re.IGNORECASE)


def embedder(name: str) -> Callable[[Sequence[str]], list]:
    """Texts to the mean of their last hidden states, (N, D), as sentence encoders are used."""
    import torch
    from transformers import AutoModel

    model, tokenizer = _load(name, AutoModel)

    @torch.inference_mode()
    def embed(texts: Sequence[str]) -> list:
        found = []
        for batch in _batches(tokenizer, texts):
            hidden_BTD = model(**batch).last_hidden_state
            keep_BT1 = batch["attention_mask"].unsqueeze(-1).to(hidden_BTD.dtype)
            found += ((hidden_BTD * keep_BT1).sum(1) / keep_BT1.sum(1)).tolist()
        return found

    return embed


def toxicity(name: str) -> Callable[[Sequence[str]], list[float]]:
    """Texts to the probability that they are toxic: of several toxic labels, the largest.

    Raises:
        Refused: no label's name says that it means toxic.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    model, tokenizer = _load(name, AutoModelForSequenceClassification)
    names = [str(model.config.id2label[number]) for number in range(model.config.num_labels)]
    wanted = [number for number, label in enumerate(names) if TOXIC_LABEL.search(label)]
    if not wanted:
        raise Refused(f"no label of this model says that it means toxic: {', '.join(names)}", where=name,
                      expected="a label with a name such as toxic, hate, offensive, insult",
                      do="Name its labels in config.json (id2label)")

    @torch.inference_mode()
    def score(texts: Sequence[str]) -> list[float]:
        found = []
        for batch in _batches(tokenizer, texts):
            logits_BL = model(**batch).logits.float()
            several = model.config.problem_type == "multi_label_classification" or len(names) == 1
            shares_BL = logits_BL.sigmoid() if several else logits_BL.softmax(-1)
            found += shares_BL[:, wanted].amax(-1).tolist()
        return found

    return score


def _load(name: str, kind):
    """The model in eval mode on the accelerator if there is one, and its tokenizer."""
    import torch
    from transformers import AutoTokenizer

    source = resolve(name)
    try:
        model = kind.from_pretrained(source.name, **source.fetching).eval()
        tokenizer = AutoTokenizer.from_pretrained(source.name, **source.fetching)
    except (OSError, ValueError) as error:
        raise Refused(f"the model cannot be loaded: {' '.join(str(error).split())[:300]}", where=name,
                      expected="a transformers folder with its tokenizer") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
        model.config.pad_token_id = tokenizer.pad_token_id
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer


def _batches(tokenizer, texts: Sequence[str]) -> Iterator[dict]:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    for start in range(0, len(texts), BATCH):
        yield tokenizer(list(texts[start:start + BATCH]), padding=True, truncation=True, max_length=LONGEST,
                        return_tensors="pt").to(device)
