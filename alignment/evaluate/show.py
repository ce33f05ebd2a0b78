"""The result of `align eval` as tables for people. Light: rich when it is called."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from data_recipes.intervals import bounds_text

Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]  # title, header, rows


def tables(result: dict) -> list[Table]:
    """The tables of a result document, in the order in which they are printed."""
    from alignment.evaluate import fit

    if result["task"] == "rewards":
        return [cards_table(result), slices_table(result)]
    made = [loss_table(result)] if "held_out" in result["arms"][0] else []
    if "references" in result:
        made += reference_tables(result)
    if "rewards" in result:
        made += [reward_table(result, reward) for reward in result["rewards"]]
        made += [judge_table(result, judge) for judge in result.get("judges", [])] + [manners_table(result)]
    if "plane" in result["arms"][0]:
        made.append(plane_table(result))
    return made + fit.tables(result)


def short_names(result: dict) -> dict[str, str]:
    """What each arm is called for people: the last part of its path, where that is not another arm's too."""
    arms = [arm["name"] for arm in result["arms"]]
    last = {name: name.replace("\\", "/").rstrip("/").rpartition("/")[2] or name for name in arms}
    return last if len(set(last.values())) == len(arms) else {name: name for name in arms}


def plane_table(result: dict) -> Table:
    """Each arm's distance from the reference, and its rewards on the answers by which that was measured."""
    names, rewards = short_names(result), [reward["name"] for reward in result["rewards"]]
    rows = [
        (names[arm["name"]], interval(arm["plane"]["kl"], 2), *(interval(arm["plane"]["rewards"][name], 3) for name in rewards))
        for arm in result["arms"]
    ]
    header = ("", "KL, nats an answer", *(name.replace("\\", "/").rpartition("/")[2] for name in rewards))
    return f"Distance from {result['arms'][0]['plane']['from']}, by answers drawn at temperature 1", header, rows


def loss_table(result: dict) -> Table:
    """Held-out loss of each arm."""
    names = short_names(result)
    header = ("", "loss per token", "perplexity", "bits per byte", "against the first", "tokens", "seeds")
    rows = []
    for arm in result["arms"]:
        found = arm["held_out"]
        loss = {"value": found["loss"], "low": found["loss_low"], "high": found["loss_high"]}
        rows.append(
            (
                names[arm["name"]],
                interval(loss, 3),
                f"{found['perplexity']:.3g}",
                interval(found["bits_per_byte"], 3),
                interval(found["difference"], 3, signed=True),
                f"{found['tokens']:,}",
                seeds(found["spread"], 3),
            )
        )
    return "Held-out loss, over the tokens that training trains on (lower is better)", header, rows


FIGURES = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "exact": "exact", "bleu": "BLEU"}


def reference_tables(result: dict) -> list[Table]:
    """Each arm's answers beside the rows' own, with answers that need no model; and the differences to the first arm."""
    names = short_names(result)
    arms = [(names[arm["name"]], arm["references"]) for arm in result["arms"]]
    trivial = [(f"({one['name']})", one) for one in result["references"]["baselines"]]
    header = ("", *FIGURES.values())
    values = [
        (who, *(interval(found[name], 1 if name == "bleu" else 3) for name in FIGURES)) for who, found in arms + trivial
    ]
    against = [
        (who, *(interval(found[name]["difference"], 1 if name == "bleu" else 2, signed=True) for name in FIGURES))
        for who, found in arms[1:] + trivial
    ]
    rows = f"{result['references']['rows']:,} rows"
    return [
        (f"Answers beside the rows' own, {rows} (ROUGE as F1; higher is better)", header, values),
        (f"The same, against {names[result['baseline']]}, row by row", header, against),
    ]


def reward_table(result: dict, reward: dict) -> Table:
    """One reward's means, differences and win rates."""
    names = short_names(result)
    header = ("", "mean", "against the first", "wins", "wins at equal length", "ties", "seeds")
    rows = []
    for arm in result["arms"]:
        found = arm["answers"]["rewards"][reward["name"]]
        alike = "tied" if found.get("ties") == 1 else "alike"
        controlled = percent(found.get("length_controlled"), alike) + (
            " ?" if found.get("length_controlled_extrapolates") else ""
        )
        rows.append(
            (
                names[arm["name"]],
                interval(found["mean"], 3),
                interval(found.get("difference"), 3, signed=True),
                percent(found.get("win_rate"), alike),
                controlled,
                share(found.get("ties")),
                seeds(found["spread"], 3),
            )
        )
    proxy = ", a PROXY" if reward["proxy"] else ""
    return (
        f"{reward['name']} ({reward['kind']}{proxy}): wins are over {names[result['baseline']]}, a tie counts half",
        header,
        rows,
    )


def judge_table(result: dict, judge: dict) -> Table:
    """One judge's win rates; the first arm is what the others are compared with."""
    names = short_names(result)
    header = ("", "wins", "wins at equal length", "ties", "abstained", "prompts with a verdict")
    rows = []
    for arm in result["arms"][1:]:
        found = arm["answers"]["judges"][judge["name"]]
        alike = "tied" if found["ties"] == 1 else "alike"
        controlled = percent(found["length_controlled"], alike) + (" ?" if found["length_controlled_extrapolates"] else "")
        rows.append((names[arm["name"]], percent(found["win_rate"], alike), controlled, share(found["ties"]),
                     share(found["abstained"]), f"{found['prompts']:,}"))
    title = f"judge {judge['name']}: wins are over {names[result['baseline']]}, a tie counts half, abstentions are left out"
    return title, header, rows


def judge_note(judge: dict) -> str:
    """How far a judge can be trusted."""
    parts = (("consistent", "its verdict stays when the answers change places"),
             ("first_shown", "of the others, what is shown first wins"), ("longer_wins", "the longer answer wins"))
    counted = [f"{words} {percent(judge[key])}" for key, words in parts if judge[key]]
    said = "; ".join([f"Judge {judge['name']}, both orders, {judge['cases']} pairs", *counted])
    return said + "."


def manners_table(result: dict) -> Table:
    """Length and stop rate, which explain many a win."""
    names = short_names(result)
    rows = []
    for arm in result["arms"]:
        found = arm["answers"]
        rows.append(
            (
                names[arm["name"]],
                f"{found['answers']:,}",
                interval(found["length_characters"], 0),
                interval(found["length_tokens"], 1),
                percent(found["stop_rate"]),
            )
        )
    return "Length and stopping", ("", "answers", "characters", "tokens", "ended by itself"), rows


def cards_table(result: dict) -> Table:
    """Accuracy of reward runs, with the trivial baseline beside it."""
    names = short_names(result)
    header = ("", "accuracy", "'longer wins'", "loss", "calibration error", "pairs", "seeds")
    rows = [
        (
            names[arm["name"]],
            percent(arm["accuracy"]),
            percent(arm["longer_wins"]),
            f"{arm['loss']:.3f}",
            f"{arm['ece']:.3f}",
            f"{arm['cards'][0]['pairs']:,}",
            seeds(arm["spread"], 3),
        )
        for arm in result["arms"]
    ]
    return "Held-out pairs (chance: 50 %, loss 0.693)", header, rows


def slices_table(result: dict) -> Table:
    """Accuracy by length; a model that only likes length fails where the chosen side is the shorter one."""
    names = short_names(result)
    rows = [
        (
            names[arm["name"]],
            part["slice"],
            f"{part['pairs']:,}",
            percent({"value": part["accuracy"], "low": part["low"], "high": part["high"]}),
        )
        for arm in result["arms"]
        for part in arm["cards"][0]["slices"]
    ]
    return "Accuracy by length (characters)", ("", "pairs where", "pairs", "accuracy"), rows


def interval(found: dict | None, digits: int, *, signed: bool = False) -> str:
    """`0.43 [0.31, 0.55]`; nothing where nothing was measured, a dash where the figure has no value."""
    if not found:
        return ""
    if found["value"] is None:
        return "-"
    form = f"{'+' if signed else ''}.{digits}f"
    return f"{found['value']:{form}} {bounds_text(found['low'], found['high'], found.get('n'), form)}"


def percent(found: dict | None, alike: str = "alike") -> str:
    """`61.2 % [55.0, 67.1]`; `50.0 % (all 40 tied)` where all units say the same and `alike` is the word for it."""
    if not found:
        return ""
    bounds = bounds_text(100 * found["low"], 100 * found["high"], found.get("n"), ".1f", alike)
    return f"{100 * found['value']:.1f} % {bounds}"


def share(value: float | None) -> str:
    """A share without an interval."""
    return "" if value is None else f"{100 * value:.0f} %"


def seeds(spread: dict | None, digits: int) -> str:
    """`5: +-0.012` for five members; one member has no spread."""
    return f"{len(spread['members'])}: ±{spread['std']:.{digits}f}" if spread else "1"


def notes(result: dict) -> list[str]:
    """What stands below the tables: decoding, seeds, overlap, and the question mark's meaning."""
    from alignment.evaluate import fit

    said = []
    if "decoding" in result:
        decoding = result["decoding"]
        how = (
            "greedy"
            if decoding["temperature"] == 0
            else "temperature {temperature:g}, top_p {top_p:g}, top_k {top_k}".format(**decoding)
        )
        said.append(
            f"Decoding: {how}, at most {decoding['max_new_tokens']} new tokens, seed {decoding['seed']}, "
            f"answers a prompt: {result['samples']}."
        )
        prompts, rows = result["arms"][0]["answers"]["length_characters"]["n"], result["data"]["rows"]
        if prompts < rows:
            said.append(f"The {rows:,} rows have {prompts:,} prompts: rows of one prompt are averaged, and count as one.")
        if any(
            found.get("length_controlled_extrapolates")
            for arm in result["arms"]
            for found in (*arm["answers"]["rewards"].values(), *arm["answers"].get("judges", {}).values())
        ):
            said.append("? one side is the longer on nearly all prompts: the rate at equal length is an extrapolation.")
    if result["task"] == "rewards" and (prompts := result["arms"][0]["accuracy"]["n"]) < result["data"]["rows"]:
        said.append(f"The {result['data']['rows']:,} pairs have {prompts:,} prompts, and intervals above are over prompts.")
    seen = [f"{name} {seen_rows(found)}" for name, found in result["overlap"].items()]
    said += [judge_note(judge) for judge in result.get("judges", [])]
    return [*said, *([f"Rows whose prompt was trained on: {'; '.join(seen)}."] if seen else []), *fit.notes(result)]


def seen_rows(found: dict) -> str:
    """How many rows' prompts a model was trained on; of what is no run nobody knows."""
    if not found["files"] and not found["unchecked"]:
        return "not known"
    return f"{found['rows']} of {found['of']}" + (" (not all files could be checked)" if found["unchecked"] else "")


def print_result(result: dict, file: Any = None) -> None:
    """Prints tables and notes to standard output."""
    print_tables(tables(result), notes(result), file)


def print_tables(made: Iterable[Table], said: Iterable[str], file: Any = None) -> None:
    """Prints any tables with notes below them to standard output."""
    from rich.console import Console

    console = Console(file=file, highlight=False)
    if not console.is_terminal:
        console = Console(
            file=file, highlight=False, width=150
        )  # rich assumes 80 columns for a file and folds the cells
    for title, header, rows in made:
        console.print(_rich(title, header, rows))
    for note in said:
        console.print(note, markup=False)


def _rich(title: str, header: Iterable[str], rows: list[tuple[str, ...]]) -> Any:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    made = RichTable(title=Text(title), title_justify="left", box=box.SIMPLE, pad_edge=False)
    for name in header:
        made.add_column(Text(name), overflow="fold")
    for row in rows:
        made.add_row(*map(Text, row))
    return made
