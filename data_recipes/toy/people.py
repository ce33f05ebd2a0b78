"""People of the toy world for a trial of collecting: `python -m data_recipes.toy.people votes.db --error 0.1`.

They take tasks from a collection and say which answer is better by the judge, erring with a known probability. Like people
they see the request and two answers only; what a right answer is they know from the rules.
"""

from __future__ import annotations

import argparse
import re
from functools import cache

from data_recipes.errors import Refused
from data_recipes.toy import world
from data_recipes.toy.judge import verdict
from data_recipes.toy.world import Request


@cache
def _questions() -> tuple[tuple[str, re.Pattern], ...]:
    """Each question's template as a pattern with its kind."""
    found = []
    for kind, templates in world.QUESTIONS.items():
        for template in templates:
            pattern = re.escape(template).replace(r"\{code\}", r"(?P<code>[A-Z]{2}\d{2})")
            found.append((kind, re.compile(pattern.replace(r"\{subject\}", r"(?P<subject>\w+)"))))
    return tuple(found)


def request_of(question: str) -> Request:
    """The request that a question asks. Raises Refused where it is none of the toy world's."""
    for kind, pattern in _questions():
        found = pattern.fullmatch(question.strip())
        if found and found["subject"] in world.subjects(kind):
            return Request(kind, found["code"], found["subject"], question)
    raise Refused(f"no request of the toy world: {question[:80]!r}", expected="prompts that python -m data_recipes.toy writes")


def judge(messages: tuple[dict, ...], answer: str) -> float:
    """How good an answer is, 0 to 1, by the toy world's judge."""
    request = request_of(messages[-1]["content"])
    return verdict(answer, request.code, request.subject, request.amount, request.unit).score


def main(arguments: list[str] | None = None) -> None:
    """Lets all people of a collection answer in turns until nothing is left, or each has given `--most` votes."""
    from data_recipes.collect import simulate
    from data_recipes.collect.store import Store

    parser = argparse.ArgumentParser(prog="python -m data_recipes.toy.people", description="Answer a toy collection.")
    parser.add_argument("file", help="the collection, of items with the toy world's requests")
    parser.add_argument("--habit", choices=("careful", "longer", "random", "left"), default="careful")
    parser.add_argument("--error", type=float, default=0.1, help="how often careful people say the opposite (default: 0.1)")
    parser.add_argument("--most", type=int, help="votes of each person (default: all that is asked)")
    parser.add_argument("--seed", type=int, default=0, help="of what they do by chance (default: 0)")
    options = parser.parse_args(arguments)
    habit = {"careful": simulate.Careful(judge, options.error), "longer": simulate.longer, "random": simulate.at_random,
             "left": simulate.always_left}[options.habit]
    with Store.open(options.file) as store:
        names = [person.name for person in store.annotators() if person.active and person.asked and person.role != "judge"]
        for name, done in simulate.answer_all(store, dict.fromkeys(names, habit), seed=options.seed, most=options.most).items():
            print(f"{name}: {done} votes")


if __name__ == "__main__":
    main()
