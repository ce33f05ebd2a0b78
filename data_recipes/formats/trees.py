"""OpenAssistant's message trees (arXiv:2304.07327): to threads, to pairs by rank, to prompts.

A tree is one row with nested `replies` (the published .jsonl exports), or one row a message (the hub's oasst1 and oasst2).
Messages that were deleted or failed the review are passed over with all that hangs on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from data_recipes.formats.base import Fields, Gathered, PassedOver, told
from data_recipes.formats.chats import chat
from data_recipes.formats.pairs import preference
from data_recipes.formats.ranked import Answer, by_column, chosen_pairs
from data_recipes.records import BadRow, Demonstration, Prompt

ROLES = {"prompter": "user", "assistant": "assistant"}
FLAT = frozenset(("message_tree_id", "message_id", "text", "role"))

MAX_DEPTH = 200  # a published tree is some ten deep

Path = list[dict]  # messages of a tree from the root on


def threads(fields: Fields) -> Iterator[dict | PassedOver]:
    """Chats from the root to each last answer; of ranked answers the best one goes on, of user messages each.

    With `fields.ranked` "all" every answer goes on.
    """
    about = _about(fields)
    found = 0
    for path in _answered([_root(fields)], fields.ranked == "all"):
        found += 1
        yield {**about, "messages": _chat(path), "message_id": path[-1].get("message_id")}
    if not found:
        yield PassedOver("no-answer", "no answer in the tree")
    yield from _left_out(_root(fields))


def ranked_pairs(fields: Fields) -> Iterator[dict | PassedOver]:
    """Pairs of the ranked answers to each user message, after all that stands before it."""
    about, asked = _about(fields), list(_asked([_root(fields)]))
    lone = [path for path in asked if len(_ranked(path[-1])) < 2]
    for path in asked:
        answers = [_answer(reply) for reply in _ranked(path[-1])]
        for found in chosen_pairs(answers, fields.ranked or "all") if len(answers) > 1 else ():
            yield found if isinstance(found, PassedOver) else {**about, **_pair_row(_chat(path), *found)}
    if len(lone) == len(asked):
        yield PassedOver("no-ranked-answers", "no user message of the tree has two ranked answers")
    yield from _left_out(_root(fields))


def user_prompts(fields: Fields) -> Iterator[dict | PassedOver]:
    """Each user message with what stands before it."""
    about = _about(fields)
    for path in _asked([_root(fields)]):
        yield {**about, "messages": _chat(path), "message_id": path[-1].get("message_id")}
    yield from _left_out(_root(fields))


def as_trees(rows: Iterable[tuple[str, dict | BadRow]]) -> Iterator[Gathered]:
    """Messages, one a row, joined to trees; holds the whole file. A message whose parent is not there is a BadRow."""
    for joined in by_column(rows, "message_tree_id"):
        if isinstance(joined.row, BadRow):
            yield joined
            continue
        try:
            tree = _tree(joined.row["rows"])
        except BadRow as error:
            yield Gathered(joined.places, BadRow(error.reason, error.detail, joined.row))
            continue
        yield Gathered(joined.places, {"message_tree_id": joined.row["message_tree_id"], "prompt": tree})


def _tree(rows: list[dict]) -> dict:
    """The first message with all others below it. Raises BadRow: broken-tree."""
    for row in rows:
        if not isinstance(row.get("message_id"), str) or not isinstance(row.get("parent_id"), (str, type(None))):
            raise BadRow("broken-tree", "a message's message_id or parent_id is not text")
    nodes = {row["message_id"]: {**row, "replies": []} for row in rows}
    if len(nodes) != len(rows):
        raise BadRow("broken-tree", "two messages of the tree have the same message_id")
    roots = []
    for node in nodes.values():
        parent = node.get("parent_id")
        if parent is not None and parent not in nodes:
            raise BadRow("broken-tree", f"the parent {parent[:40]} of message {node['message_id'][:40]} is not in the file")
        (roots if parent is None else nodes[parent]["replies"]).append(node)
    if len(roots) != 1:
        raise BadRow("broken-tree", f"the tree has {len(roots)} messages without a parent, not one")
    if _size(roots[0]) != len(nodes):
        raise BadRow("broken-tree", "some messages of the tree answer each other in a circle")
    return roots[0]


def _size(root: dict) -> int:
    """How many messages hang on the first one. Raises BadRow: broken-tree for a depth that recursion would not bear."""
    level, found = [root], 0
    for _ in range(MAX_DEPTH):
        found += len(level)
        level = [reply for node in level for reply in node["replies"]]
        if not level:
            return found
    raise BadRow("broken-tree", f"the tree is deeper than {MAX_DEPTH} messages")


def _root(fields: Fields) -> dict:
    root = fields.value("prompt")
    if not isinstance(root, dict):
        raise BadRow("wrong-type", "prompt must be the tree's first message")
    return root


def _about(fields: Fields) -> dict:
    root = _root(fields)
    return {**fields.rest(), **({"lang": root["lang"]} if "lang" in root else {})}


def _replies(node: dict) -> list[dict]:
    return [reply for reply in _all_replies(node) if not _fault(reply)]


def _all_replies(node: dict) -> list[dict]:
    found = node.get("replies") or []
    if not isinstance(found, list) or not all(isinstance(reply, dict) for reply in found):
        raise BadRow("wrong-type", "replies must be a list of messages")
    return found


def _fault(node: dict) -> str:
    return "deleted" if node.get("deleted") else "failed-review" if node.get("review_result") is False else ""


def _left_out(node: dict) -> Iterator[PassedOver]:
    """What was deleted or failed the review; what hangs on it is not counted again."""
    for reply in _all_replies(node):
        if fault := _fault(reply):
            yield PassedOver(fault, f"message {reply.get('message_id')}")
        else:
            yield from _left_out(reply)


def _ranked(node: dict) -> list[dict]:
    """Answers with a rank; of those without one nobody said which is better."""
    return [reply for reply in _replies(node) if reply.get("role") == "assistant" and _rank(reply) is not None]


def _rank(node: dict) -> float | None:
    rank = node.get("rank")
    if rank is not None and (isinstance(rank, bool) or not isinstance(rank, (int, float))):
        raise BadRow("wrong-type", "rank must be a number")
    return rank


def _answered(path: Path, every: bool) -> Iterator[Path]:
    """Paths that end with an answer nobody went on from (or only to ask again, unanswered)."""
    replies = _replies(path[-1])
    if path[-1].get("role") != "assistant":
        for reply in replies if every else _best(replies):
            yield from _answered([*path, reply], every)
        return
    further = [found for reply in replies for found in _answered([*path, reply], every)]
    yield from further or [path]


def _best(replies: list[dict]) -> list[dict]:
    """The answer with the lowest rank; the first of those without one, where none has any."""
    if not replies:
        return []
    return [min(replies, key=lambda reply: float("inf") if _rank(reply) is None else _rank(reply))]


def _asked(path: Path) -> Iterator[Path]:
    if path[-1].get("role") == "prompter":
        yield path
    for reply in _replies(path[-1]):
        yield from _asked([*path, reply])


def _chat(path: Path) -> list[dict]:
    """Messages as they are: what is wrong with one is said where it is read, and touches only the records it is in."""
    return [{"role": _role(node), "content": node.get("text")} for node in path]


def _role(node: dict) -> Any:
    role = node.get("role")
    return ROLES.get(role, role) if isinstance(role, str) else role


def _answer(node: dict) -> Answer:
    about = {name: node[name] for name in ("message_id", "rank") if name in node}
    return Answer(node.get("text"), -_rank(node), about)


def _pair_row(prompt: list[dict], better: Answer, worse: Answer) -> dict[str, Any]:
    """Ranks are no scores, so there is no margin; they stay beside the pair."""
    row = {"prompt": prompt, "chosen": better.text, "rejected": worse.text}
    for side, answer in (("chosen", better), ("rejected", worse)):
        row.update({f"{side}_{name}": value for name, value in answer.about.items()})
    return row


def _thread(fields: Fields) -> Demonstration:
    return chat(fields.turns("messages"), fields)


def _open_thread(fields: Fields) -> Prompt:
    return Prompt(fields.turns("messages"), fields.tools(), fields.where, fields.rest())


def is_tree(row: dict) -> bool:
    """Whether a row is a tree with nested replies."""
    return isinstance(row.get("prompt"), dict) and "replies" in row["prompt"]


def is_tree_message(row: dict) -> bool:
    """Whether a row is one message of a tree."""
    return FLAT <= row.keys()


def tree_formats(convert, parts):
    """The two formats of trees for one kind."""
    return (
        told("oasst-tree", "message trees", "prompt message_tree_id", is_tree, convert, parts=parts),
        told("oasst-messages", "one message of a tree a row", " ".join(FLAT), is_tree_message, convert, parts=parts,
             gather=as_trees),
    )


THREADS = tree_formats(_thread, threads)
TREE_PAIRS = tree_formats(preference, ranked_pairs)
TREE_PROMPTS = tree_formats(_open_thread, user_prompts)
