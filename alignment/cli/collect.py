"""`align collect`: the group; its commands are imported when they are used, and none of them needs torch."""

from __future__ import annotations

import click

from alignment.cli.commands import SETTINGS, Entry, LazyGroup

ASK, RESULTS, KEEP = "Ask", "Results", "Keep"
ENTRIES: dict[str, Entry] = {
    "guide": Entry("alignment.cli.collect_people", "guide_command", ASK, "Show the guidelines, or add a version."),
    "invite": Entry("alignment.cli.collect_people", "invite_command", ASK, "Make a person's new link; it ends the old one."),
    "revoke": Entry("alignment.cli.collect_people", "revoke_command", ASK, "End a person's link; the votes stay."),
    "close": Entry("alignment.cli.collect_people", "close_command", ASK, "End the asking, of all lists or of one."),
}


@click.group(
    "collect",
    cls=LazyGroup,
    entries=ENTRIES,
    context_settings=SETTINGS,
    example="""
align collect init votes.db --items candidates.jsonl --guidelines guide.md --annotators ana,ben --overlap 2
align collect export votes.db --to dpo --aggregate majority --output pairs.jsonl
""",
)
def collect_group() -> None:
    """Collect preferences from people, know how far to trust them, and write rows to train on."""
