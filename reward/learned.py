"""A reward model as a scorer: it is given text, renders it with its own template, and scores the last real token."""

from __future__ import annotations

from data_recipes.errors import Refused
from data_recipes.records import BadRow, Demonstration, Message
from reward.scalar import score
from reward.scorers import Messages, row_name


class RewardModel:
    """A loaded model with a scalar head, called as TRL's reward functions are.

    Args:
        model: a sequence classification model with one label, on its device.
        renderer: the reward model's own `data_recipes.render.Renderer`; its `max_length` should be None, since a row
            that is cut would be scored where nothing was trained.
        batch_size: rows a forward pass.
    """

    def __init__(self, model, renderer, *, name: str = "reward model", batch_size: int = 16) -> None:
        self.model, self.renderer, self.name, self.batch_size = model, renderer, name, batch_size

    def __call__(
        self,
        prompts: list[Messages],
        completions: list[Messages],
        *,
        stopped: list | None = None,
        tools: list | None = None,
        where: list[str] | None = None,
        **columns: list,
    ) -> list[float]:
        """Scores in the order of the completions; all of them count as stopped where `stopped` is not given.

        where: each prompt's place in the data, for errors.
        """
        ended = stopped or [True] * len(prompts)
        wanted = tools or [None] * len(prompts)
        rows = [self.row(*row) for row in zip(prompts, completions, ended, wanted, strict=True)]
        self.refuse_long(rows, self.model.config)
        names = [f"{self.name}, {row_name(index, completion, where)}" for index, completion in enumerate(completions)]
        return score(self.model, rows, pad_id=self.renderer.pad_id, batch_size=self.batch_size, names=names)

    def refuse_long(self, rows: list[list[int]], config) -> None:
        """A row beyond the model's context would be scored by positions that nothing has trained, or end in an index error.

        Raises:
            Refused: a row is; the longest is named.
        """
        context = getattr(config.get_text_config(), "max_position_embeddings", None)
        if not context or not any(len(row) > context for row in rows):
            return
        longest = max(range(len(rows)), key=lambda index: len(rows[index]))
        raise Refused(
            f"{sum(len(row) > context for row in rows)} of {len(rows)} rows are longer than this reward model's context, the "
            f"longest has {len(rows[longest]):,} tokens",
            where=f"{self.name}, row {longest + 1}",
            expected=f"at most {context:,} tokens of prompt and answer",
            do="Leave long prompts out, generate fewer tokens, or take a reward model with a longer context.",
        )

    def row(
        self, prompt: Messages, said: str | Messages, stopped: bool = True, tools: list | None = None
    ) -> list[int]:
        """Token ids of prompt and completion; one cut at the limit has no stop token, and is scored at its end.

        Raises:
            Refused: the model's own template does not take them.
        """
        said = [{"role": "assistant", "content": said}] if isinstance(said, str) else said
        try:
            if not _speaks(said[-1]):
                before = said if said[-1]["role"] == "tool" else said[:-1]
                return self.renderer.prompt([*prompt, *before], tools) + (self.renderer.stop_ids[:1] if stopped else [])
            turns = [_message(turn) for turn in (*prompt, *said)]
            ids = self.renderer.demonstration(Demonstration(tuple(turns), tools)).input_ids
        except BadRow as error:
            raise Refused(
                f"an answer cannot be rendered with this reward model's template ({error})", where=self.name
            ) from error
        return ids if stopped or ids[-1] not in self.renderer.stop_ids else ids[:-1]


def _speaks(turn: dict) -> bool:
    """Whether a row of a chat may end with this turn; a policy may well say nothing, or stop behind a tool's result."""
    return turn["role"] == "assistant" and bool(turn.get("tool_calls") or (turn.get("content") or "").strip())


def _message(turn: dict) -> Message:
    known = {key: turn[key] for key in ("role", "content", "name", "thinking", "tool_call_id") if key in turn}
    return Message(**known, tool_calls=tuple(turn["tool_calls"]) if turn.get("tool_calls") else None)
