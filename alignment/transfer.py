"""A reward model or a classifier as the beginning of a language model: its trunk goes on, its head is left behind.

What was learned in the trunk (an adapter, or all weights) is kept; the vocabulary's head comes from the base. A run whose
adapter was trained has it there. One that was tuned as a whole has it only where it is tied to the embeddings.
"""

from __future__ import annotations

from data_recipes.errors import Refused

from alignment.tasks import WORDS


def drop_head(session) -> None:
    """Says what of a parent with a head is left behind, and notes it in the run's manifest. Nothing for a language model.

    Raises:
        Refused: the parent has no language head any more.
    """
    from alignment.models import load_config, task_of

    job, trust = session.job, session.config.model.trust_remote_code
    before = task_of(job.source, trust_remote_code=trust)
    if not before.has_head:
        return
    config = load_config(session.base, trust_remote_code=trust).get_text_config()
    if not job.source.is_adapter and not config.tie_word_embeddings:
        raise Refused(
            f"this is {WORDS[before.name]} that was tuned as a whole: its language head was replaced and is gone",
            where=job.source.text,
            expected="a run with an adapter, or an architecture whose language head is tied to the embeddings",
            do="Start from the model that it was tuned from.",
        )
    job.ui.say(f"the parent is {WORDS[before.name]}: its head is left behind, what its trunk has learned goes on")
    job.run.manifest["transfer"] = {"from": before.name, "head": "left behind"}
