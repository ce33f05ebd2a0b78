"""`align collect`: the group; its commands are imported when they are used, and only `score` needs torch."""

from __future__ import annotations

import click

from alignment.cli.commands import SETTINGS, Entry, LazyGroup

ASK, RESULTS, KEEP = "Ask", "Results", "Keep"
ENTRIES: dict[str, Entry] = {
    "init": Entry("alignment.cli.collect_ask", "init_command", ASK, "Make a collection from a file of items."),
    "add": Entry("alignment.cli.collect_ask", "add_command", ASK, "Add items, or another list of items."),
    "score": Entry("alignment.cli.collect_score", "score_command", ASK, "Score items by rewards, for --choose (needs torch)."),
    "judge": Entry("alignment.cli.collect_judge", "judge_command", ASK, "Let a model judge, beside the people."),
    "import": Entry("alignment.cli.collect_ask", "import_command", ASK, "Write a file of items from another tool's."),
    "serve": Entry("alignment.cli.collect_serve", "serve_command", ASK, "Serve the page, and print each person's link."),
    "guide": Entry("alignment.cli.collect_people", "guide_command", ASK, "Show the guidelines, or add a version."),
    "invite": Entry("alignment.cli.collect_people", "invite_command", ASK, "Make a person's new link; it ends the old one."),
    "revoke": Entry("alignment.cli.collect_people", "revoke_command", ASK, "End a person's link; the votes stay."),
    "close": Entry("alignment.cli.collect_people", "close_command", ASK, "End the asking, of all lists or of one."),
    "stats": Entry("alignment.cli.collect_measure", "stats_command", RESULTS, "Agreement, habits, and who needs a talk."),
    "rank": Entry("alignment.cli.collect_measure", "rank_command", RESULTS, "Which run people prefer, and how sure that is."),
    "export": Entry("alignment.cli.collect_results", "export_command", RESULTS, "Write rows to train on, or a table."),
    "backup": Entry("alignment.cli.collect_keep", "backup_command", KEEP, "Copy the collection while it is in use."),
    "erase": Entry("alignment.cli.collect_keep", "erase_command", KEEP, "Erase a person's name and words, not the votes."),
    "salvage": Entry("alignment.cli.collect_keep", "salvage_command", KEEP, "Save what can be read of a damaged file."),
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
