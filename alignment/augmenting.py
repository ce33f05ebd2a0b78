"""`align data augment`: a recipe, its rows and its generator brought together, and all that came of it accounted for.

OUTPUT appears whole, at the end. Beside it lie OUTPUT.requests.jsonl, the log of questions and answers, from which the
same command goes on and which `--generator replay:` reads; OUTPUT.refused.jsonl, what the gates kept out; and
OUTPUT.meta.json, from what and how. Light until a model is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from alignment.generation.generators import open_generator
from alignment.generation.resumable import finish, open_record, working
from data_recipes.augment.asking import Asker, Budget
from data_recipes.augment.endpoint import Settings as EndpointSettings
from data_recipes.augment.generator import Generator, Sampling
from data_recipes.augment.job import Job, Recipe, Stage, make_settings
from data_recipes.augment.request_log import RequestLog
from data_recipes.augment.wording import Wordings
from data_recipes.errors import Failed, Refused
from data_recipes.files import sha256_file, write_jsonl
from data_recipes.ledger import write_rejected
from data_recipes.style import load_guide


@dataclass(frozen=True)
class Order:
    """One `align data augment` command.

    settings: `key=value` of the recipe. wordings, style: files. reward: a run, a folder, a hub id or module:function.
    temperature: None is the recipe's own. kind: of the rows; found out where None. max_failed: share of questions that
    may stay without an answer. how: `models.Loading` arguments.
    """

    recipe: str
    data: tuple[str, ...]
    generator: str
    output: Path
    settings: tuple[str, ...] = ()
    reward: str | None = None
    wordings: str | None = None
    style: str | None = None
    system: str | None = None
    max_new_tokens: int = 512
    temperature: float | None = None
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    limit: int | None = None
    kind: str | None = None
    format: str = "auto"
    max_rejected: float = 0.0
    max_failed: float = 0.0
    batch_size: int = 8
    budget: Budget = field(default_factory=Budget)
    endpoint: EndpointSettings = field(default_factory=EndpointSettings)
    how: dict = field(default_factory=dict)
    restart: bool = False


def augment(order: Order, ui: Any, *, dry_run: bool = False) -> dict:
    """Makes the rows and writes them; returns the summary.

    Raises:
        Refused: wrong use, bad rows, an output made with other settings. Failed: the budget is used up, questions stay
        without an answer, or no row passed the gates; the log keeps every answer.
    """
    job, generator, asked = prepare(order, ui)
    summary = {"output": str(order.output), "recipe": job.recipe, "rows_read": len(job.rows),
               "generator": generator.identity, "sampling": asdict(job.sampling), "seed": job.seed}
    if dry_run:
        planned = plan(recipe_of(order.recipe).plan(job), order.budget)
        show_plan(planned, ui)
        return {**summary, "state": "dry-run", "plan": planned}
    with working(order.output):
        record = open_record(order.output, asked, restart=order.restart)
        if record["state"] == "completed":
            ui.say(f"{order.output} is complete already, made by the same command")
            return {**summary, "state": "already-completed", "account": record["account"]}
        log = RequestLog(beside(order.output, "requests"))
        ui.say(f"answers are kept in {log.path} ({len(log.answers):,} so far); the same command goes on from them")
        asker = Asker(generator, log, order.budget, progress(ui))
        account = work(order, job, asker)
        show_account(account, ui)
        finish(order.output, {**record, "account": account})
    return {**summary, "state": "completed", "account": account}


def work(order: Order, job: Job, asker: Asker) -> dict:
    """Runs the recipe and writes its rows; returns the account of rows and questions.

    Raises:
        Failed: too many questions stayed without an answer, or no row passed the gates.
    """
    job.ask = asker
    recipe_of(order.recipe).run(job)
    write_rejected(beside(order.output, "refused"), [job.account])
    account = {"rows": {"read": len(job.rows), "candidates": job.account.read, "kept": job.account.kept,
                        "refused": dict(sorted(job.account.rejected.items()))},
               "questions": asker.account()}
    if hasattr(job.judge, "summary"):
        account["judge"] = job.judge.summary()
    check_lost(asker, order.max_failed)
    if not job.made:
        counts = ", ".join(f"{count} {reason}" for reason, count in account["rows"]["refused"].items())
        raise Failed(f"no row passed the gates ({counts})", where=beside(order.output, "refused"),
                     do="Look at what was refused; another wording (--wordings), sampling or generator may do better")
    write_jsonl(order.output, job.made)
    return account


def check_lost(asker: Asker, allowed: float) -> None:
    """Raises Failed where more questions stayed without an answer than may."""
    lost = sum(asker.lost.values())
    if lost <= allowed * asker.asked:
        return
    why = ", ".join(f"{count} x {reason}" for reason, count in sorted(asker.lost.items()))
    raise Failed(
        f"{lost} of {asker.asked} questions got no answer ({why})", where=str(asker.generator.identity["name"]),
        do="All other answers are kept: the same command asks only these again. To go without them: --max-failed "
        f"{-(-1000 * lost // asker.asked) / 1000:g}",
    )


def prepare(order: Order, ui: Any) -> tuple[Job, Generator, dict]:
    """The job, what answers it, and all that decides the outcome (compared when the command is given again)."""
    recipe = recipe_of(order.recipe)
    settings = make_settings(recipe.settings, order.settings)
    sampling = sampling_of(order, recipe)
    rows, sources = read(order, recipe, ui)
    generator = open_generator(order.generator, how=order.how, batch_size=order.batch_size, endpoint=order.endpoint)
    wordings = wordings_of(order, recipe)
    style = load_guide(order.style) if order.style else None
    job = Job(recipe.name, rows, lambda requests: [], settings, wordings, generator.identity, sampling, order.seed,
              order.system, style=style)
    reward = attach(job, recipe, order, generator)
    files = {name: sha256_file(value) for name, value in asdict(settings).items()
             if isinstance(value, str) and Path(value).is_file()}
    who = {name: value for name, value in generator.identity.items() if name != "name"}
    return job, generator, {
        "recipe": recipe.name, "settings": asdict(settings), "files": files, "data": [source["sha256"] for source in sources],
        "generator": who, "sampling": asdict(sampling), "seed": order.seed, "system": order.system,
        "wordings": wordings.hash, "style": style.sha256 if style else None, "reward": reward, "limit": order.limit,
    }


def recipe_of(name: str) -> Recipe:
    """A recipe by its name. Raises Refused with the nearest one."""
    from data_recipes.augment.table import RECIPES

    if name not in RECIPES:
        close = get_close_matches(name, RECIPES, n=1)
        raise Refused(f"there is no recipe '{name}'", where="RECIPE",
                      expected=f"{close[0]}?" if close else f"one of {', '.join(RECIPES)}")
    return RECIPES[name]


def sampling_of(order: Order, recipe: Recipe) -> Sampling:
    """Judges are greedy, everything else samples at temperature 1, unless it is said otherwise.

    Raises:
        Refused: temperature 0 for a recipe that draws several answers.
    """
    usual = 0.0 if recipe.needs == "judge" else 1.0
    sampling = Sampling(order.max_new_tokens, usual if order.temperature is None else order.temperature, order.top_p,
                        order.top_k)
    if recipe.draws and sampling.temperature == 0:
        raise Refused("several answers at temperature 0 would be the same answer", where="--temperature",
                      expected=f"above 0 for {recipe.name}")
    return sampling


def read(order: Order, recipe: Recipe, ui: Any) -> tuple[list, list[dict]]:
    """The rows, as the recipe reads them, and where they are from. Pairs and answered rows also serve as prompts.

    Raises:
        Refused: rows of a kind that the recipe does not read.
    """
    from alignment.evaluate.rows import as_prompts, kind_of, read_rows

    found = order.kind or kind_of(order.data[0])
    as_they_are = found in recipe.reads
    kind = found if as_they_are or found == "demonstrations" else "prompts"
    rows = read_rows(order.data, kind, format=order.format, max_rejected=order.max_rejected, limit=order.limit)
    if "prompts" not in recipe.reads and not as_they_are:
        raise Refused(f"these rows are {found}", where=order.data[0], expected=f"{' or '.join(recipe.reads)} for {recipe.name}")
    if rows.ledger.refused:
        ui.warn(f"{rows.ledger.refused} bad rows are left out: {rows.ledger.rejected}")
    return rows.records if as_they_are else as_prompts(rows.records), rows.ledger.sources


def wordings_of(order: Order, recipe: Recipe) -> Wordings:
    """The recipe's wordings, or the judge's, with those of the user's file in their place."""
    texts = recipe.texts
    if recipe.needs == "judge":
        from reward.judge import TEXTS as texts
    return Wordings(texts).changed(order.wordings) if order.wordings else Wordings(texts)


def attach(job: Job, recipe: Recipe, order: Order, generator: Generator) -> Any:
    """Gives the job the reward or the judge that its recipe needs; returns the reward's identity.

    Raises:
        Refused: a recipe that needs a reward has none, or another one has it.
    """
    if recipe.needs == "judge":
        job.judge = CountingJudge(job)
    if (recipe.needs == "score") != (order.reward is not None):
        said = "nothing says which answer is best" if recipe.needs == "score" else f"{recipe.name} takes no reward"
        raise Refused(said, where="--reward", expected="a reward run, or module:function, for best-of-n alone")
    if order.reward is None:
        return None
    from alignment.rewards import named

    reward = named(order.reward, base=order.how.get("base"))
    job.score = scorer(reward, order, generator)
    return reward.identity()


def scorer(reward: Any, order: Order, generator: Generator) -> Callable[..., list[float]]:
    """Scores with a model that is loaded when it is needed, after the generator's weights are gone."""

    def score(prompts, completions, **columns) -> list[float]:
        from alignment.evaluate.evaluation import load_reward

        if hasattr(generator, "close"):
            generator.close()
        return load_reward(reward.text, reward.source, how=order.how, batch_size=order.batch_size)(
            prompts, completions, **columns)

    return score


class CountingJudge:
    """The job's generator as a judge that remembers its verdicts for the account."""

    def __init__(self, job: Job) -> None:
        from reward.judge import Judge

        self.judge = Judge(lambda requests: job.ask(requests), wordings=job.wordings, sampling=job.sampling, seed=job.seed)
        self.requests, self.verdicts = self.judge.requests, []

    def __call__(self, cases) -> list:
        found = self.judge(cases)
        self.verdicts += found
        return found

    def summary(self) -> dict:
        """How far the judge can be trusted."""
        from reward.judge import summary

        return summary(self.verdicts)


def beside(output: Path, what: str) -> Path:
    """A file that goes with the output."""
    return output.with_name(f"{output.name}.{what}.jsonl")


# ------------------------------------------------------------------------------------------------------- what is said


def plan(stages: list[Stage], budget: Budget) -> dict:
    """The most that may be asked, and what it may cost."""
    prompt, completion = (sum(getattr(one, name) for one in stages) for name in ("prompt_tokens", "completion_tokens"))
    return {"stages": [asdict(one) for one in stages], "requests": sum(one.requests for one in stages),
            "prompt_tokens": prompt, "completion_tokens": completion, "cost": budget.cost(prompt, completion)}


def show_plan(planned: dict, ui: Any) -> None:
    """The plan as a table."""
    stages = [*planned["stages"], {"name": "all", **{key: planned[key] for key in planned if key != "stages"}}]
    rows = [(one["name"], f"{one['requests']:,}", f"{one['prompt_tokens']:,}", f"{one['completion_tokens']:,}")
            for one in stages]
    ui.table("At most", rows, ("", "questions", "tokens of prompts", "tokens of answers"))
    if planned["cost"] is not None:
        ui.say(f"cost at most {planned['cost']:.4f} (a token of a prompt is counted as one byte, an answer as full length)")


def show_account(account: dict, ui: Any) -> None:
    """Rows by gate, questions, tokens, and what the judge is like."""
    rows, asked = account["rows"], account["questions"]
    kept = [("kept", f"{rows['kept']:,}"), *((reason, f"{count:,}") for reason, count in rows["refused"].items())]
    ui.table(f"{rows['candidates']:,} candidates from {rows['read']:,} rows", kept)
    cost = "" if asked["cost"] is None else f", cost {asked['cost']:.4f}"
    ui.say(f"{asked['asked']:,} questions: {asked['answered_now']:,} answered now, {asked['reused']:,} known, "
           f"{sum(asked['lost'].values()):,} without an answer, {asked['retries']:,} retries; in all "
           f"{asked['prompt_tokens']:,} tokens of prompts and {asked['completion_tokens']:,} of answers{cost}")


def progress(ui: Any) -> Callable[[int, int], None]:
    """A line at each fifth of a stage's questions."""

    def said(done: int, total: int) -> None:
        if done == total or done * 5 // total > (done - 1) * 5 // total:
            ui.say(f"{done:,}/{total:,} questions of this stage")

    return said
