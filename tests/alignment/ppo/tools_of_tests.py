"""Tools for tests, used by name as a user's own are; a base whose template carries calls; a policy that calls by script."""

import json
from pathlib import Path

from tests import tiny

TEMPLATE = (
    "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}"
    "{% if m.role == 'assistant' %}<|im_start|>assistant\n{% generation %}{{ m.content }}"
    "{% for call in m.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}"
    "<|im_end|>{% endgeneration %}{{ '\n' }}"
    "{% elif m.role == 'tool' %}<|im_start|>tool\n{{ m.name }}: {{ m.content }}<|im_end|>\n"
    "{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
READS = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {
        "tool_calls": {"open": "<tool_call>", "close_pattern": r"</tool_call>\s*", "repeats": True, "content": "json",
                       "transform": {"type": "function", "function": "{content}"}},
        "content": {"close_pattern": r"<\|im_end\|>\s*", "content": "text"},
    },
}
ASKED = []


def double(n: int) -> int:
    """Doubles.

    Args:
        n: A number.
    """
    ASKED.append(n)
    return 2 * n


def halve(n: int) -> list:
    """Halves, and gives a list.

    Args:
        n: A number.
    """
    return [n // 2]


def broken(n: int) -> int:
    """Raises.

    Args:
        n: A number.
    """
    raise KeyError("out of order")


def untyped(n):
    """Has no types."""


def save_base(folder: Path, *, reads=READS, template=TEMPLATE) -> Path:
    tokens = tiny.tokenizer(template)
    if reads:
        tokens.response_template = reads
    return tiny.save_base(folder, tokens=tokens, model=tiny.llama(positions=2048))


def call(name: str, **arguments) -> str:
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


class Script:
    """What a policy says instead of drawing tokens: a call first, and words behind each result, by how long they are."""

    def __init__(self, tokenizer, first: str, then: str) -> None:
        self.ids = {text: tokenizer(text, add_special_tokens=False)["input_ids"] for text in (first, then, "tool\n")}
        self.first, self.then, self.end = first, then, tokenizer.eos_token_id

    def __call__(self, rows: list[list[int]]) -> list[list[int]]:
        marker = self.ids["tool\n"]
        said = [self.then if _within(marker, row) else self.first for row in rows]
        return [self.ids[text] + [self.end] for text in said]


def _within(part: list[int], row: list[int]) -> bool:
    return any(row[i : i + len(part)] == part for i in range(len(row)))


def speak(monkeypatch, first: str, then: str = "it is done") -> None:
    """Scripts the policy in training (both engines) and in evaluation (the suite's own generation)."""
    from alignment.generation.batched import Completion
    from alignment.ppo.engine import GRPOTrainer, RolloutEngine

    def turn(trainer, prompt_ids, *args, **kwargs):
        return Script(trainer.processing_class, first, then)(prompt_ids), None

    def draw(trainer, prompt_ids):
        made, _ = turn(trainer, prompt_ids)
        return made, [[0.0] * len(ids) for ids in made]  # not as scored: a whole run goes on with TRL's engine

    def generate(loaded, prompts, *, renderer, **settings):
        made = Script(renderer.tokenizer, first, then)(prompts)
        return [Completion(renderer.completion_text(ids), ids[:-1], True, len(ids) - 1, ids[-1]) for ids in made]

    monkeypatch.setattr(GRPOTrainer, "_generate_single_turn", turn)
    monkeypatch.setattr(RolloutEngine, "draw", draw)
    monkeypatch.setattr("alignment.ppo.examiner.generate", generate)
