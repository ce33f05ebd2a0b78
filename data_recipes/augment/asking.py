"""Asking through the log, within a budget: what was answered once is never asked again, what would cost too much never."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from data_recipes.augment.generator import Answer, Generator, Request
from data_recipes.augment.request_log import RequestLog
from data_recipes.errors import Failed, Refused

MILLION = 1_000_000


@dataclass(frozen=True)
class Budget:
    """What may be spent. prices: for a million tokens of prompt and of answer, in any currency.

    Raises:
        Refused: a limit of cost without prices.
    """

    max_tokens: int | None = None
    max_cost: float | None = None
    prices: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.max_cost is not None and self.prices is None:
            raise Refused("nothing says what a token costs", where="--max-cost", expected="--price IN,OUT beside it")

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """What so many tokens cost; None where no price is known."""
        if self.prices is None:
            return None
        return (prompt_tokens * self.prices[0] + completion_tokens * self.prices[1]) / MILLION

    def allows(self, prompt_tokens: int, completion_tokens: int) -> bool:
        """Whether so much may be spent in all."""
        if self.max_tokens is not None and prompt_tokens + completion_tokens > self.max_tokens:
            return False
        cost = self.cost(prompt_tokens, completion_tokens)
        return self.max_cost is None or cost is None or cost <= self.max_cost


@dataclass
class Asker:
    """Asks a generator what the log does not know. Calling it gives the answers in the order of the requests.

    asked: questions put by recipes, equal ones too. answered: by the generator, now. reused: from the log or an equal
    question. lost: without an answer, by the reason. retries: sendings beyond the first.
    """

    generator: Generator
    log: RequestLog = field(default_factory=RequestLog)
    budget: Budget = field(default_factory=Budget)
    progress: Callable[[int, int], None] | None = None
    asked: int = 0
    answered: int = 0
    reused: int = 0
    retries: int = 0
    lost: dict[str, int] = field(default_factory=dict)

    def __call__(self, requests: Sequence[Request]) -> list[Answer]:
        """Raises Failed where the budget does not reach; all answers so far are in the log."""
        identity = self.generator.identity
        keys = [request.key(identity) for request in requests]
        open_ones = {key: request for key, request in zip(keys, requests, strict=True) if self.log.get(key) is None}
        self.asked += len(requests)
        self.reused += len(requests) - len(open_ones)
        lost = self._complete(open_ones)
        return [self.log.get(key) or lost[key] for key in keys]

    def _complete(self, open_ones: dict[str, Request]) -> dict[str, Answer]:
        """Asks until each has an answer or was lost; returns the lost ones by key."""
        lost: dict[str, Answer] = {}
        total = len(open_ones)
        while waiting := {key: one for key, one in open_ones.items() if not self.log.get(key) and key not in lost}:
            before = len(waiting)
            for key, answer in self._within_budget(waiting):
                self.retries += max(0, answer.attempts - 1)
                if answer.lost:
                    lost[key] = answer
                    self.lost[answer.lost] = self.lost.get(answer.lost, 0) + 1
                else:
                    self.log.add(self.generator.identity, open_ones[key], answer)
                    self.answered += 1
                before -= 1
                if self.progress:
                    self.progress(total - before, total)
            if before == len(waiting):
                raise self._too_dear(next(iter(waiting.values())), len(waiting))
        return lost

    def _within_budget(self, waiting: dict[str, Request]) -> Iterator[tuple[str, Answer]]:
        """Hands requests over as long as even the dearest answers to all that are on their way could be paid."""
        keys, on_its_way = list(waiting), {}

        def affordable() -> Iterator[Request]:
            for number, key in enumerate(keys):
                on_its_way[number] = _dearest(waiting[key])
                if not self._affords(on_its_way.values()):
                    del on_its_way[number]
                    return
                yield waiting[key]

        for number, answer in self.generator.complete(affordable()):
            del on_its_way[number]
            yield keys[number], answer

    def _affords(self, bounds) -> bool:
        prompt = self.log.prompt_tokens + sum(bound[0] for bound in bounds)
        completion = self.log.completion_tokens + sum(bound[1] for bound in bounds)
        return self.budget.allows(prompt, completion)

    def _too_dear(self, request: Request, left: int) -> Failed:
        if self._affords([_dearest(request)]):
            return Failed("the generator took no question", where=str(self.generator.identity["name"]))
        spent = self.log.prompt_tokens + self.log.completion_tokens
        cost = self.budget.cost(self.log.prompt_tokens, self.log.completion_tokens)
        said = f"{spent:,} tokens" + (f", cost {cost:.4f}" if cost is not None else "")
        return Failed(
            f"the budget is used up: {said}, and the next question may need {sum(_dearest(request)):,} more",
            where="--max-cost" if self.budget.max_cost is not None else "--max-tokens",
            expected=f"room for the {left} questions that are open",
            do="What was answered is kept: the same command with a higher limit goes on from there",
        )

    def account(self) -> dict:
        """What was asked and what it took, the log's older answers included."""
        return {
            "asked": self.asked,
            "answered_now": self.answered,
            "reused": self.reused,
            "retries": self.retries,
            "lost": dict(sorted(self.lost.items())),
            "prompt_tokens": self.log.prompt_tokens,
            "completion_tokens": self.log.completion_tokens,
            "cost": self.budget.cost(self.log.prompt_tokens, self.log.completion_tokens),
        }


def _dearest(request: Request) -> tuple[int, int]:
    return request.prompt_bound(), request.sampling.max_new_tokens
