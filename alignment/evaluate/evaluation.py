"""`align eval`: what is asked, what is measured for it, and what has to be said about it.

Light until a model is needed.

Reward runs are measured on held-out pairs; policies on demonstrations (loss), on prompts (answers that rewards
score), or on both where the rows allow it. The result is one JSON document; `show` prints it.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_recipes.augment.endpoint import Settings
from data_recipes.errors import Refused
from data_recipes.files import write_json, write_jsonl

from alignment.evaluate import arms as lineup
from alignment.evaluate import evidence, fit, references
from alignment.evaluate.arms import Arm
from alignment.evaluate.rows import as_prompts, kind_of, read_rows
from alignment.generation.decoding import Decoding
from alignment.rewards import named
from alignment.runs import now, versions
from alignment.tasks import encoder_decoder

FORMAT = 1
RESULT, SAMPLES = "result.json", "samples.jsonl"


@dataclass(frozen=True)
class Question:
    """One `align eval` command.

    models: `RUN`, `RUN,RUN,...` (seeds of one arm), each maybe with `NAME=`; the first is what the others are
    compared with.
    rewards: reward runs and rules. base: whether the first run's base is one more arm. kind: of rows; found out where
    None.
    kl_from: the model from which each arm's distance is measured. references: whether answers are compared with the rows'
    own; found out where None.
    retain: general rows on which forgetting is measured. memorised: rows of which it is measured whether they were learned
    by heart, with `span` tokens given and expected.
    how: `models.Loading` arguments. judges: generators that compare answers pairwise; endpoint: how those behind HTTP are
    asked.
    """

    models: tuple[str, ...]
    data: tuple[str, ...]
    rewards: tuple[str, ...] = ()
    base: bool = False
    decoding: Decoding = field(default_factory=Decoding)
    samples: int = 1
    batch_size: int = 16
    limit: int | None = None
    kind: str | None = None
    format: str = "auto"
    max_rejected: float = 0.0
    output: Path | None = None
    how: dict = field(default_factory=dict)
    judges: tuple[str, ...] = ()
    endpoint: Settings = field(default_factory=Settings)
    kl_from: str | None = None
    references: bool | None = None
    retain: tuple[str, ...] = ()
    memorised: str | None = None
    span: tuple[int, int] = (16, 32)

    def __post_init__(self) -> None:
        self.decoding.check_samples(self.samples)


def evaluate(question: Question, ui: Any) -> dict:
    """Measures and returns the result document; writes it too where an output folder is named.

    Raises:
        Refused: models and rows that do not fit each other, bad rows, what is not there.
        Failed: a score or a loss that is not finite, a rule that raises.
    """
    compared = lineup.parse(question.models, base=question.base, base_at=question.how.get("base"))
    result, samples = measure_data(question, compared, ui) if question.data else (fit.bare(compared), None)
    fit.add(question, compared, result, ui)
    result = {"format": FORMAT, "created": now(), "versions": versions(), "seed": question.decoding.seed, **result}
    for warning in result["warnings"]:
        ui.warn(warning)
    if question.output is not None:
        write_result(question.output, result, samples)
    return result


def measure_data(question: Question, compared: list[Arm], ui: Any) -> tuple[dict, list[dict] | None]:
    """What is measured on the rows of `--data`: the result's part, and for policies the answers."""
    scorers = {text: named(text, base=question.how.get("base")).source for text in question.rewards}
    if question.kl_from:
        lineup.finished(lineup.resolve(question.kl_from))
    kind = settle_kind(question, compared)
    rows = read_rows(
        question.data, kind, format=question.format, max_rejected=question.max_rejected, limit=question.limit
    )
    head = {
        "kind": kind,
        "data": {"sources": rows.ledger.sources, "rows": len(rows.records), "totals": rows.ledger.totals()},
    }
    ui.say(f"{len(rows.records)} {kind} from {', '.join(question.data)}; intervals are at 95 %")
    if kind == "comparisons":
        return {**head, **measure_rewards(question, compared, rows.records, ui)}, None
    body, samples = measure_policies(question, compared, scorers, kind, rows.records, ui)
    return {**head, **body}, samples


def write_result(output: Path, result: dict, samples: list[dict] | None) -> None:
    """`result.json` and, for policies, `samples.jsonl`, each written by rename; the result last."""
    if samples is not None:
        write_jsonl(output / SAMPLES, samples)
    write_json(output / RESULT, result)


# ------------------------------------------------------------------------------------------------- what fits together


def settle_kind(question: Question, compared: list[Arm]) -> str:
    """What the rows are read as. Reward runs need pairs; policies take pairs as prompts.

    Raises:
        Refused: reward runs beside policies, pairs scored by another reward, prompts without any reward.
    """
    heads = [_is_scorer(member) for arm in compared for member in arm.members]
    if all(heads):
        asked = {"--reward": question.rewards, "--judge": question.judges, "--references": question.references}
        if other := next((name for name, given in asked.items() if given), None):
            raise Refused(
                "a reward run is measured on pairs, not by another reward or a judge, and gives no answers", where=other,
                do="Leave it out.",
            )  # fmt: skip
        return "comparisons"
    if any(heads):
        raise Refused(
            "reward runs and policies cannot stand in one comparison",
            where="RUN",
            do="Measure the reward run by itself, or give it by --reward.",
        )
    kind = question.kind or kind_of(question.data[0])
    kind = "prompts" if kind == "comparisons" else kind
    if question.judges and len(compared) < 2:
        raise Refused("a judge compares two models", where="--judge", expected="a second RUN, or --base")
    if kind == "prompts" and not question.rewards and not question.judges:
        raise Refused(
            "nothing says what a good answer to these prompts is",
            where="--reward",
            expected="a reward run, or module:function",
            do="Give --reward, --judge, or demonstrations to measure the loss on.",
        )
    return kind


# -------------------------------------------------------------------------------------------------------- reward runs


def measure_rewards(question: Question, compared: list[Arm], pairs: list, ui: Any) -> dict:
    """Report cards on held-out pairs."""
    from alignment.evaluate.cards import card_of_arm

    cards = [card_of_arm(arm, pairs, how=question.how, batch_size=question.batch_size, ui=ui) for arm in compared]
    overlaps = evidence.overlap(pairs, compared)
    return {"task": "rewards", "arms": cards, "overlap": overlaps, "warnings": overlap_warnings(overlaps)}


# ----------------------------------------------------------------------------------------------------------- policies


def measure_policies(
    question: Question, compared: list[Arm], scorers: dict, kind: str, records: list, ui: Any
) -> tuple:
    """Losses and scored answers of all arms; returns the result and, where there are answers, the samples."""
    from alignment.evaluate.policies import sample_rows

    apart = [encoder_decoder(member) for arm in compared for member in arm.members]
    beside = references.wanted(question.references, kind, apart)
    benched = open_judges(question)
    prompts = as_prompts(records) if scorers or benched or beside else []
    own = references.texts_of(records) if beside else []
    if prompts:
        try_rules(scorers, prompts[0])
        ui.say(
            f"decoding: {question.decoding.describe()}; answers a prompt: {question.samples}; "
            f"seed {question.decoding.seed}"
        )
    losses, made = run_arms(question, compared, records if kind == "demonstrations" else [], prompts, ui)
    overlaps = evidence.overlap(records, compared)
    result = {
        "task": "policies",
        "baseline": compared[0].name,
        "overlap": overlaps,
        "arms": [{"name": arm.name, "members": [member.text for member in arm.members]} for arm in compared],
    }
    warnings = overlap_warnings(overlaps)
    if losses:
        describe_losses(result["arms"], losses, question.decoding.seed)
        warnings += tokenizer_warnings(result["arms"]) + cut_warnings(result["arms"])
    if not prompts:
        return {**result, "warnings": warnings}, None
    answers = score_arms(question, scorers, made, prompts, ui)
    rewards = [reward_entry(name, source, compared) for name, source in scorers.items()]
    compare_answers(result["arms"], answers, list(scorers), question.decoding.seed)
    result.update(decoding=question.decoding.as_dict(), samples=question.samples, rewards=rewards)
    if own:
        references.add(result, made, prompts, own, seed=question.decoding.seed)
    if question.kl_from:
        add_distance(question, compared, scorers, prompts, result["arms"], ui)
    warnings += reward_warnings(rewards, judged=bool(benched))
    if benched:
        from alignment.evaluate.judging import add_judges

        warnings += add_judges(result, benched, compared, made, prompts, answers, question.decoding.seed, ui)
    return {**result, "warnings": warnings}, sample_rows(compared, prompts, made, answers, own)


def add_distance(question: Question, compared: list[Arm], scorers: dict, prompts: list, entries: list, ui: Any) -> None:
    """Each arm's KL from the reference, and its rewards on the answers that were drawn for it."""
    from alignment.evaluate import plane

    made, kl = plane.draw(question, compared, prompts, ui)
    answers = score_arms(question, scorers, made, prompts, ui)
    plane.describe(entries, kl, answers, question.kl_from, question.decoding.seed)


def open_judges(question: Question) -> list:
    """The judges, before anything is answered: what is wrong with one must not show afterwards."""
    if not question.judges:
        return []
    from alignment.evaluate.judging import benches

    return benches(question.judges, how=question.how, batch_size=question.batch_size, endpoint=question.endpoint,
                   output=question.output)


def try_rules(scorers: dict, prompt: Any) -> None:
    """Calls each rule on one answer to the first prompt: a column it misses must not show after the answering."""
    from alignment.evaluate.policies import as_messages, columns_of
    from reward.scorers import load_rule

    for text in (text for text, source in scorers.items() if source is None):
        said = [[{"role": "assistant", "content": "Hello."}]]
        load_rule(text)([as_messages(prompt.messages)], said, **columns_of([prompt], 1), stopped=[True])


def run_arms(
    question: Question, compared: list[Arm], demonstrations: list, prompts: list, ui: Any
) -> tuple[dict, dict]:
    """Each member is loaded once, measured, and let go before the next; returns losses and completions by arm."""
    from alignment.evaluate import held_out
    from alignment.evaluate.policies import Sampling, answer, load_arm_member

    sampling = Sampling(question.decoding, question.samples, question.batch_size)
    losses, made = {}, {}
    for arm in compared:
        for member in arm.members:
            loaded = load_arm_member(arm, member, question.how)
            ui.say("; ".join(filter(None, (f"{arm.name}: {member.text} on {loaded.device}", loaded.preparation.chosen))))
            if demonstrations:
                rows = held_out.measure(loaded, demonstrations, batch_size=question.batch_size)
                losses.setdefault(arm.name, []).append(rows)
            if prompts:
                made.setdefault(arm.name, []).append(answer(loaded, prompts, sampling))
            del loaded
            gc.collect()  # the next model needs the room
    return losses, made


def score_arms(question: Question, scorers: dict, made: dict, prompts: list, ui: Any) -> dict:
    """Answers with their scores by arm; each reward model is loaded once, after the policies are gone."""
    from alignment.evaluate.policies import as_answers, score_members

    answers = {name: as_answers(members, prompts) for name, members in made.items()}
    for text, source in scorers.items():
        scorer = load_reward(text, source, how=question.how, batch_size=question.batch_size)
        ui.say(f"scoring with {text}")
        for name, members in made.items():
            answers[name].scores[text] = score_members(scorer, members, prompts)
        del scorer
        gc.collect()
    return answers


def load_reward(text: str, source: Any, *, how: dict, batch_size: int) -> Any:
    """A rule as it is, a reward run as a scorer of text with its own template."""
    if source is None:
        from reward.scorers import load_rule

        return load_rule(text)
    from alignment.models import load_scorer
    from reward.learned import RewardModel

    loaded = load_scorer(source, **how)
    return RewardModel(loaded.model, loaded.renderer(max_length=None), name=text, batch_size=batch_size)


def _is_scorer(source: Any) -> bool:
    """By the manifest where there is one, since asking the model's config imports torch. Raises Refused for a classifier."""
    if source.kind == "run":
        scores, labels = source.manifest["stage"] == "reward", source.manifest["stage"] == "classify"
    else:
        from alignment.models import task_of
        from alignment.tasks import SCORE

        task = task_of(source)
        scores, labels = task == SCORE, task.has_labels
    if labels:
        raise Refused(
            "this is a classifier, which gives no answers",
            where=source.text,
            expected="policies, or reward runs",
            do="Its figures on held-out rows are in its run (align report); align classify predict labels a file.",
        )
    return scores


# ------------------------------------------------------------------------------------------------------- what is said


def describe_losses(entries: list[dict], losses: dict, seed: int) -> None:
    """Adds `held_out` to each arm; differences are to the first arm."""
    from alignment.evaluate import held_out

    first = losses[entries[0]["name"]]
    for entry in entries:
        against = None if entry is entries[0] else first
        entry["held_out"] = held_out.describe(losses[entry["name"]], against, seed=seed)


def compare_answers(entries: list[dict], answers: dict, rewards: list[str], seed: int) -> None:
    """Adds `answers` to each arm, and to all but the first its comparisons with the first."""
    from alignment.evaluate.compare import against, describe

    first = answers[entries[0]["name"]]
    for entry in entries:
        ours = answers[entry["name"]]
        entry["answers"] = describe(ours, seed=seed)
        for name in rewards:
            found = {} if entry is entries[0] else against(ours, first, name, seed=seed)
            entry["answers"]["rewards"][name].update(found)


def reward_entry(name: str, source: Any, compared: list[Arm]) -> dict:
    """What the result says about a reward."""
    ties = evidence.proxies(source, compared) if source is not None else []
    return {"name": name, "kind": "rule" if source is None else source.kind, "proxy": bool(ties), "why": ties}


def reward_warnings(rewards: list[dict], *, judged: bool = False) -> list[str]:
    """A proxy is named as one, and where nothing else was measured that is said too."""
    said = []
    for reward in rewards:
        for tie in reward["why"]:
            said.append(
                f"{reward['name']} is a proxy for {tie['arm']}: {tie['why']}. A policy learns to please its proxy"
            )
    if rewards and not judged and all(reward["proxy"] for reward in rewards):
        said.append(
            "a proxy never stands alone as evidence: add a rule, people's judgement or a reward run from other pairs"
        )
    return said


def overlap_warnings(overlaps: dict[str, dict]) -> list[str]:
    """Rows whose prompts were trained on, and training files that could not be looked at."""
    said = []
    for name, found in overlaps.items():
        if found["rows"]:
            said.append(
                f"{name} was trained on the prompts of {found['rows']} of these {found['of']} rows: "
                "they are not held out"
            )
        for missing in found["unchecked"]:
            said.append(f"{name}: overlap with {missing['path']} was not checked, {missing['why']}")
    return said


def tokenizer_warnings(entries: list[dict]) -> list[str]:
    """Arms whose loss per token cannot be compared with the first one's."""
    others = [entry["name"] for entry in entries[1:] if entry["held_out"]["difference"] is None]
    if not others:
        return []
    return [
        f"{', '.join(others)}: other tokens than {entries[0]['name']}, so compare bits per byte, not the loss per token"
    ]


def cut_warnings(entries: list[dict]) -> list[str]:
    """Arms that did not see all of each row."""
    cut = [(entry["name"], entry["held_out"]["truncated"], entry["held_out"]["rows"]) for entry in entries]
    return [
        f"{name}: {count} of {rows} rows are cut where its training cuts them (data.max_length) or its context ends"
        for name, count, rows in cut
        if count
    ]
