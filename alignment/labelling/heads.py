"""The head of a classifier: the task that a problem is, and whether the parent's head is kept. Light."""

from __future__ import annotations

from data_recipes.labels import Problem

from alignment import tasks
from alignment.tasks import Task

PROBLEMS = {
    "single": "single_label_classification",
    "multi": "multi_label_classification",
    "regression": "regression",
}
NUMBER = "score"  # the one output's name where a number is predicted
KEPT = "align_classify"  # key of a whole model's config.json


def kept_in_config(found: dict) -> dict:
    """What a whole model's config keeps of a run beside its label names. found: the manifest's `classify` entry."""
    return {key: found[key] for key in ("task", "names", "scheme", "temperature", "scale", "pair", "max_length")}


def task_of_problem(problem: Problem) -> Task:
    """What the model is made to do."""
    if problem.task == "token":
        return tasks.tokens(problem.names)
    return tasks.labels(problem.names or (NUMBER,), PROBLEMS[problem.task])


def settle_head(session) -> None:
    """Keeps the parent's head where it is for the same labels in the same order; says what was done."""
    from alignment.models import task_of

    job, wanted = session.job, session.task
    before = task_of(job.source, trust_remote_code=session.config.model.trust_remote_code)
    if not before.has_head:
        return
    session.new_head = before != wanted
    if not session.new_head:
        job.ui.say("the parent's head is kept: its labels are the same")
        return
    has = ", ".join(before.labels[:8]) or "labels of its own"
    job.ui.say(f"a new head: the parent's is {tasks.WORDS[before.name]} ({has})")
