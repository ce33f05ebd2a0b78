"""What came of a sweep: mean and spread a setting, the best one, and how far it is ahead. Light but for Student's t."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from alignment.sweeping.grid import Grid, Point, Setting, leaves, shown
from alignment.sweeping.metrics import BESIDE, By, remarks
from alignment.sweeping.spread import ENOUGH, difference, spread

Figures = Mapping[str, Mapping[str, float]]  # run name -> its figures


def tabulate(stage: str, grid: Grid, by: By, figures: Figures) -> list[dict]:
    """One dictionary a setting, the best first: values, its runs, and the spread of each figure over them.

    figures: of the finished runs only; a setting without any stands last.
    """
    beside = [name for name in BESIDE.get(stage, ()) if name != by.name]
    rows = [_row(setting, grid, [by.name, *beside], figures) for setting in grid.settings]
    sign = 1 if by.lower else -1
    return sorted(rows, key=lambda row: (not row["figures"], sign * _mean(row, by)))


def _mean(row: dict, by: By) -> float:
    return row["figures"][by.name]["mean"] if row["figures"] else 0.0


def _row(setting: Setting, grid: Grid, names: list[str], figures: Figures) -> dict:
    points = [point for point in grid.points if point.setting == setting]
    done = [point for point in points if names[0] in figures.get(point.name, {})]
    found = {}
    for name in names:
        values = [figures[point.name][name] for point in done if name in figures[point.name]]
        if values:
            found[name] = spread(values).as_dict()
    return {"name": setting.name, "words": setting.words(), "values": dict(setting.values), "missing": len(points) - len(done),
            "runs": [{"name": p.name, "seed": p.seed, "value": figures[p.name][names[0]]} for p in done], "figures": found}


def best_of(rows: list[dict]) -> dict | None:
    """The best setting of which every run finished; a setting that fails for some seeds is no good choice."""
    return next((row for row in rows if not row["missing"]), None)


def ahead(rows: list[dict], best: dict, by: By) -> dict | None:
    """How far the best setting is ahead of the next one, over the seeds that both have; None where there is no other."""
    others = [row for row in rows if row is not best and row["figures"]]
    if not others:
        return None
    values = [{run["seed"]: run["value"] for run in row["runs"]} for row in (best, others[0])]
    found = difference(*values)
    if found is None:
        return None
    always = found.n >= ENOUGH and found.sd == 0 and found.mean != 0
    told_apart = always or (found.low is not None and (found.high < 0 if by.lower else found.low > 0))
    return {"next": others[0]["words"], **found.as_dict(), "told_apart": told_apart}


def notes(grid: Grid, by: By, rows: list[dict], best: dict | None, lead: dict | None) -> list[str]:
    """What has to be said about the table."""
    said = []
    if best:
        said.append(f"The best of {len(rows)} settings was chosen on these held-out rows, so its own figure flatters it: "
                    "measure it on rows that no run has seen (align eval RUN --data FILE).")
    if lead:
        said.append(_lead_words(lead))
    if lead and lead["mean"]:
        said += filter(None, (_edge(key, grid, best) for key in grid.keys))
    if len(grid.seeds) < ENOUGH:
        said.append(f"{len(grid.seeds)} seed{'s tell' if len(grid.seeds) > 1 else ' tells'} little of the spread; "
                    f"from {ENOUGH} on there are intervals.")
    for row in rows:
        if row["missing"]:
            said.append(f"{row['words']}: {row['missing']} of {len(grid.seeds)} runs have no figure, so it cannot be the best.")
    return said + remarks(by, grid.keys)


def _lead_words(lead: dict) -> str:
    if not lead["mean"]:
        return f"{lead['next']} has the same mean; of equals the first is named. Another figure may part them (--by)."
    if lead["told_apart"] and not lead["sd"]:
        return f"Next is {lead['next']}, {number(abs(lead['mean']))} behind with every seed."
    if lead["low"] is None:
        return f"Next is {lead['next']}, {number(abs(lead['mean']))} behind; too few seeds to tell the two apart."
    interval = f"{number(lead['mean'])} [{number(lead['low'])}, {number(lead['high'])}] over {lead['n']} seeds"
    verdict = "" if lead["told_apart"] else ": these seeds do not tell the two apart"
    return f"Best less next ({lead['next']}): {interval}{verdict}."


def _edge(key: str, grid: Grid, best: dict) -> str:
    """Whether the best value of a key is the smallest or largest that was tried."""
    tried = {setting.values[key] for setting in grid.settings if is_number(setting.values[key])}
    if len(tried) < 3 or best["values"][key] not in (min(tried), max(tried)):
        return ""
    end = "smallest" if best["values"][key] == min(tried) else "largest"
    return f"The best {key}, {shown(best['values'][key])}, is the {end} that was tried: a better one may lie beyond."


def is_number(value: object) -> bool:
    """Whether a swept value has a place on an axis."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def number(value: float | None) -> str:
    """A figure with four digits; a dash where there is none."""
    return "-" if value is None else f"{value:.4g}"


def printed(keys: Sequence[str], by: By, rows: list[dict]) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
    """Title, header and rows of the table for people."""
    beside = list(dict.fromkeys(name for row in rows for name in row["figures"] if name != by.name))
    header = (*leaves(keys), by.name, "sd", "min .. max", "95 % interval", "runs", *beside)
    body = [(*(shown(row["values"][key]) for key in keys), *_cells(row, by), *(_beside(row, name) for name in beside))
            for row in rows]
    return f"Held-out {by.words}; mean over seeds", header, body


def _cells(row: dict, by: By) -> tuple[str, ...]:
    found, runs = row["figures"].get(by.name), str(len(row["runs"]))
    if found is None:
        return ("-", "-", "-", "-", runs)
    interval = "-" if found["low"] is None else f"[{number(found['low'])}, {number(found['high'])}]"
    reach = f"{number(found['smallest'])} .. {number(found['largest'])}"
    return (number(found["mean"]), number(found["sd"]), reach, interval, runs)


def _beside(row: dict, name: str) -> str:
    return number(row["figures"][name]["mean"]) if name in row["figures"] else "-"


def as_csv(grid: Grid, entries: list[dict], figures: Figures) -> str:
    """One line a run: its values, seed, state, seconds and every held-out figure."""
    names = sorted({name for found in figures.values() for name in found})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["run", *grid.keys, "seed", "state", "seconds", *names])
    for entry in entries:
        found = figures.get(entry["name"], {})
        values = [shown(entry["values"][key]) for key in grid.keys]
        facts = [entry["name"], *values, entry["seed"], entry["state"], entry.get("seconds", "")]
        writer.writerow([*facts, *(found.get(name, "") for name in names)])
    return out.getvalue()


def named(points: list[Point]) -> str:
    """Run names for a sentence, the first few."""
    names = [point.name for point in points]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
