"""A loaded model around any tiny model in memory: what generation and chat take, without a folder."""

from __future__ import annotations

from tests.tiny import tokenizer


class Words:
    """The parts of a renderer that generation uses."""

    def __init__(self, tokens, stop_ids):
        self.tokens, self.stop_ids, self.pad_id = tokens, list(stop_ids), tokens.pad_token_id

    def completion_text(self, ids):
        end = next((place for place, token in enumerate(ids) if token in self.stop_ids), None)
        return self.tokens.decode(ids[:end], skip_special_tokens=True)


class Held:
    """A model in memory with its tokenizer."""

    def __init__(self, model, stop_ids=(2,)):
        self.model, self.tokenizer, self.stop_ids = model.eval(), tokenizer(), stop_ids

    def renderer(self, **_overrides):
        return Words(self.tokenizer, self.stop_ids)
