"""`align report`: a run's page, and the page of a whole chain with the figure of what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from data_recipes.errors import Refused
from data_recipes.files import write_bytes, write_text

from alignment import adapters
from alignment.evaluate import retained, show
from alignment.evaluate.curves import charts, read_metrics
from alignment.evaluate.page import render, table
from alignment.overfitting import Z
from alignment.runs import Run
from alignment.runs.lineage import lineage

REPORT, FIGURE = "report.html", "figure.png"
SHOWN_SAMPLES = 6


def report(
    runs: tuple[str, ...],
    *,
    results: tuple[str, ...] = (),
    output: Path | None = None,
    samples: int = 4,
    how: dict | None = None,
    ui: Any,
) -> dict:
    """One run's page into its private folder, or the page of several into `output`; returns the paths written.

    Raises:
        Refused: several runs without `output`.
    """
    if len(runs) == 1 and not results and output is None:
        file = run_report(Run.open(runs[0]), samples=samples, how=how or {})
        ui.say(f"written: {file}")
        return {"page": str(file)}
    if output is None:
        raise Refused(
            "the page of several runs needs a folder", where="--output", expected="a folder to write report.html to"
        )
    made = chain_report([Path(run) for run in runs], [read_result(Path(file)) for file in results], output)
    ui.say(f"written: {made['page']}")
    return made


def read_result(file: Path) -> dict:
    """A result.json of `align eval`, with its samples where they lie beside it.

    Raises:
        Refused: it is not there, or is no such file.
    """
    expected = "result.json as align eval --output writes it"
    if not file.is_file():
        raise Refused(f"there is no file '{file}'", where="--result", expected=expected)
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Refused(f"this is no JSON document ({error})", where=f"--result {file}", expected=expected) from error
    if not isinstance(result, dict) or not {"task", "arms", "overlap", "warnings"} <= result.keys():
        raise Refused("this is no result of align eval", where=f"--result {file}", expected=expected)
    beside = file.with_name("samples.jsonl")
    if beside.is_file():
        result["sample_rows"] = [
            json.loads(line) for line in beside.read_text(encoding="utf-8").splitlines()[:SHOWN_SAMPLES]
        ]
    return result


# ------------------------------------------------------------------------------------------------------------ one run


def run_report(run: Run, *, samples: int = 4, how: dict | None = None) -> Path:
    """Writes RUN/private/report.html and returns its path. Answers are drawn greedily from held-out rows."""
    from alignment.evaluate.progress import over_time
    from alignment.evaluate.samples import gather
    from alignment.labelling.page import of_classifier

    manifest = run.manifest
    own = of_classifier(run) if run.stage == "classify" else {"measured": None, **gather(run, samples, how or {})}
    page = render(
        "page_run.jinja",
        title=run.path.name,
        subtitle=f"align {run.stage}, {subtitle(run)}",
        lineage=lineage(run),
        charts=drawn(run),
        over_time=over_time(run.private / "completions.jsonl"),
        metrics=table(sorted((manifest.get("metrics") or {}).items())),
        fit=table(fit_rows(manifest)),
        data=data_tables(manifest),
        data_notes=data_notes(manifest),
        facts=table(facts(manifest)),
        config=yaml.safe_dump(manifest.get("config"), sort_keys=False, allow_unicode=True),
        **own,
    )
    write_text(run.private / REPORT, page)
    return run.private / REPORT


def subtitle(run: Run) -> str:
    """State, dates and content in one line."""
    manifest = run.manifest
    parts = [run.state, f"begun {manifest.get('created', '?')}", f"last written {manifest.get('updated', '?')}"]
    return ", ".join([*parts, f"content {manifest['content_hash'][:12]}"] if manifest.get("content_hash") else parts)


def fit_rows(manifest: dict) -> list[tuple]:
    """Which weights were kept, how far the held-out loss is from the training loss, and where it turned."""
    kept, fit = manifest.get("kept") or {}, manifest.get("fitting") or {}
    gap, rise = fit.get("gap"), fit.get("rise")
    rule = f"best by {kept['by']}" if kept.get("rule") == "best" else "the last"
    rows = [("weights that were kept", f"of step {kept['step']}, {rule}")] if kept else []
    if gap:
        rows += [("training loss at the last evaluation", gap["training"]), ("held-out loss then", gap["held_out"]),
                 ("gap", f"{gap['value']:+.4f}")]
    if fit:
        rows.append(("held-out loss at its least", f"{fit['least']['value']:.4f}, step {fit['least']['step']}"))
    if rise:
        noise = f" ± {Z * rise['error']:.4f}" if rise["error"] is not None else ""
        rows.append(("rise since", f"{rise['value']:+.4f}{noise}"))
    return rows


def drawn(run: Run) -> list[dict]:
    """The run's charts with their images and words."""
    from alignment.evaluate.figures import draw, svg_uri

    held_out = (run.manifest.get("counts") or {}).get("held_out_rows", 0)
    return [
        {"title": chart.title, "meaning": chart.meaning, "reading": chart.reading, "image": svg_uri(draw(chart))}
        for chart in charts(read_metrics(run.metrics_file), run.stage, held_out)
    ]


def data_tables(manifest: dict) -> list[dict]:
    """What was read, kept and rejected, by part; and what of it was trained on."""
    parts = manifest.get("data") or {}
    rows = [
        (
            part,
            found["read"],
            found["kept"],
            sum(found["rejected"].values()),
            ", ".join(f"{count} {reason}" for reason, count in found["rejected"].items()),
        )
        for part, found in parts.items()
    ]
    sources = [
        (part, source["path"], source["format"], source["sha256"][:12])
        for part, found in parts.items()
        for source in found["sources"]
    ]
    counts = manifest.get("counts") or {}
    return [
        table(rows, ("", "read", "kept", "rejected", "why"), "Rows"),
        table(sources, ("", "file", "format", "SHA-256"), "Files"),
        table([(name.replace("_", " "), value) for name, value in counts.items()], title="Counts"),
    ]


def data_notes(manifest: dict) -> list[str]:
    """What the reader had to say."""
    return [
        f"{part}: {note}" for part, found in (manifest.get("data") or {}).items() for note in found.get("notes", [])
    ]


def facts(manifest: dict) -> list[tuple]:
    """Base, adapter, template and machine, one line each."""
    base = manifest.get("base") or {}
    template, hardware = manifest.get("template") or {}, manifest.get("hardware") or {}
    rows = [
        ("base", base.get("id") or base.get("path")),
        ("base content", (base.get("hash") or "-")[:12]),
        ("adapter", adapters.in_words(manifest)),
        ("template", (template.get("fingerprint") or "-")[:12]),
    ]
    rows += [(f"seed of {name}", value) for name, value in (manifest.get("seeds") or {}).items()]
    rows += [(name.replace("_", " "), value) for name, value in hardware.items() if not isinstance(value, (dict, list))]
    rows += [(f"measured: {name.replace('_', ' ')}", value) for name, value in (hardware.get("measured") or {}).items()]
    return rows + list((manifest.get("versions") or {}).items())


# ---------------------------------------------------------------------------------------------------------- the chain


def chain_report(
    runs: list[Path],
    results: list[dict] | dict,
    output: Path,
    *,
    title: str = "The chain, measured",
    checks: list[tuple] | None = None,
) -> dict:
    """Writes output/report.html and output/figure.png for several runs and what `align eval` found about them.

    Args:
        results: result documents of `align eval`, one or several; their `sample_rows`, where given, are shown.
        checks: rows (what, found, promised, kept) for a table at the top.

    Returns:
        the paths written: page, and figure where there was anything to draw.
    """
    from alignment.evaluate.figures import draw_bars, draw_plane, png, svg_uri

    results = [results] if isinstance(results, dict) else results
    opened = [Run.open(path) for path in runs]
    bars = [panel for result in results if "plane" not in result["arms"][0] for panel in panels(result)]
    figure = draw_bars(bars) if bars else None
    made = [table(rows, header, heading) for result in results for heading, header, rows in show.tables(result)]
    page = render(
        "page_chain.jinja",
        title=title,
        subtitle=" -> ".join(run.path.name for run in opened),
        tables=made,
        figure=svg_uri(figure) if figure else None,
        planes=[svg_uri(draw_plane(found)) for found in map(plane_panels, results) if found],
        checks=table(checks, ("", "found", "promised", "kept")) if checks else None,
        warnings=[warning for result in results for warning in result["warnings"]],
        notes=[note for result in results for note in show.notes(result)],
        samples=[s for r in results for s in chain_samples(r)],
        runs=[
            {"stage": run.stage, "name": run.path.name, "subtitle": subtitle(run), "charts": drawn(run)}
            for run in opened
        ],
    )
    written = {"page": str(output / REPORT)}
    if figure:
        write_bytes(output / FIGURE, png(figure))
        written["figure"] = str(output / FIGURE)
    write_text(output / REPORT, page)
    return written


def plane_panels(result: dict) -> list[dict]:
    """Each reward's plane of reward and distance; nothing where the distance was not measured."""
    if "plane" not in result["arms"][0]:
        return []
    names, across = show.short_names(result), "square root of KL, nats an answer"
    return [
        {
            "title": f"{short_name(reward['name'])}{' (a proxy)' if reward['proxy'] else ''} and distance from "
            f"{Path(result['arms'][0]['plane']['from']).name}",
            "across": across,
            "points": [
                {"label": names[arm["name"]], "kl": arm["plane"]["kl"], "reward": arm["plane"]["rewards"][reward["name"]]}
                for arm in result["arms"]
            ],
        }
        for reward in result["rewards"]
    ]


def panels(result: dict) -> list[dict]:
    """The bars of a result: means and win rates by reward, held-out loss, or accuracies beside their baseline."""
    names = show.short_names(result)
    if result["task"] == "rewards":
        bars = [
            bar
            for arm in result["arms"]
            for bar in (
                _bar(names[arm["name"]], arm["accuracy"]),
                {**_bar("'the longer wins'", arm["longer_wins"]), "muted": True},
            )
        ]
        return [
            {"title": "Reward model: right on held-out pairs", "bars": bars, "percent": True, "level": (0.5, "chance")}
        ]
    made = [retained.panel(result["retained"])] if "retained" in result else []
    for reward in result.get("rewards", []):
        made += reward_panels(result, reward)
    for judge in result.get("judges", []):
        made += judge_panels(result, judge)
    if "rewards" in result or "judges" in result or "held_out" not in result["arms"][0]:
        return made
    bars = [
        _bar(
            names[arm["name"]],
            {
                "value": arm["held_out"]["loss"],
                "low": arm["held_out"]["loss_low"],
                "high": arm["held_out"]["loss_high"],
            },
        )
        for arm in result["arms"]
    ]
    return [{"title": "Held-out loss per token", "bars": bars, "percent": False}, *made]


def reward_panels(result: dict, reward: dict) -> list[dict]:
    """A share for a rule that says yes or no; win rates over the first arm for all else."""
    names = show.short_names(result)
    name, short = reward["name"], short_name(reward["name"]) + (" (a proxy)" if reward["proxy"] else "")
    found = [(names[arm["name"]], arm["answers"]["rewards"][name]) for arm in result["arms"]]
    wins = [_bar(arm, values["win_rate"]) for arm, values in found if "win_rate" in values]
    means = [_bar(arm, values["mean"]) for arm, values in found]
    if all(values["yes_or_no"] for _, values in found):
        return [{"title": f"Answers that are {short}", "bars": means, "percent": True}]
    if not wins:
        return [{"title": f"Mean score by {short}", "bars": means, "percent": False}]
    title = f"Wins over {names[result['baseline']]} by {short}"
    return [{"title": title, "bars": wins, "percent": True, "level": (0.5, "even")}]


def judge_panels(result: dict, judge: dict) -> list[dict]:
    """A judge's win rates over the first arm, where it came to any verdict."""
    names = show.short_names(result)
    found = [(names[arm["name"]], arm["answers"]["judges"][judge["name"]]["win_rate"]) for arm in result["arms"][1:]]
    bars = [_bar(name, rate) for name, rate in found if rate]
    title = f"Wins over {names[result['baseline']]} by the judge {short_name(judge['name'].rpartition('#')[2])}"
    return [{"title": title, "bars": bars, "percent": True, "level": (0.5, "even")}] if bars else []


def chain_samples(result: dict) -> list[dict]:
    """The first prompts with all answers to them."""
    return [
        {
            "prompt": row["prompt"],
            "sides": [
                {
                    "name": answer["arm"],
                    "text": answer["text"],
                    "note": ", ".join(f"{short_name(name)} {score:.2f}" for name, score in answer["scores"].items()),
                }
                for answer in row["answers"]
            ],
        }
        for row in result.get("sample_rows", [])[:SHOWN_SAMPLES]
    ]


def short_name(reward: str) -> str:
    """`length_band` for `reward.rules:length_band(low=1)`, `reward` for `runs/reward`."""
    return Path(reward.partition("(")[0].rpartition(":")[2]).name


def _bar(label: str, interval: dict) -> dict:
    return {"label": label, **{key: interval[key] for key in ("value", "low", "high")}}
