"""README.md and docs/ are true: commands, keys, defaults, formats, links, help and tree are compared with the code.

`python -m tests.test_docs` prints the settings tables of the stage pages anew.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
import subprocess
from itertools import chain
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from alignment.cli import program, run
from alignment.config import FLAGS, STAGES, load
from alignment.config import describe as describe_config
from alignment.config.defaults import learning_rate
from alignment.config.trainer import allowed
from data_recipes import formats
from data_recipes.readers import read
from data_recipes.style import load_guide
from tests import docs_pages as pages
from tests.docs_pages import PAGES, ROOT, Block

OURS = ("alignment", "reward", "data_recipes")
RUN_ON = ("first-hour.md", "sft.md", "reward.md", "dpo.md", "ppo.md", "classify.md", "data-formats.md")
SHORT_ROLLOUTS = [word for key in ("rollout_size=8", "max_new_tokens=8", "eval_rows=4", "normalise=running")
                  for word in ("--set", f"ppo.{key}")]
HUB_MODELS = re.compile(r"^(Qwen/[\w.-]+|bert-base-uncased)$")
MAIN_SETTINGS = {
    "sft": ["data.max_length", "data.validation_share", "data.train_on", "adapter.kind", "adapter.rank", "adapter.alpha",
            "adapter.dropout", "adapter.targets", "training.learning_rate", "training.epochs", "training.batch_size",
            "training.warmup", "training.schedule", "training.max_grad_norm", "training.save_every"],
    "reward": ["data.max_length", "data.validation_share", "adapter.on_parent", "training.learning_rate", "training.epochs",
               "training.batch_size", "training.warmup", "reward.center_coefficient"],
    "dpo": ["data.max_length", "data.validation_share", "adapter.on_parent", "training.learning_rate", "training.epochs",
            "training.batch_size", "training.warmup", "dpo.beta", "dpo.loss_type", "dpo.loss_weights",
            "dpo.label_smoothing", "dpo.precompute_reference"],
    "classify": ["data.max_length", "data.validation_share", "adapter.kind", "training.learning_rate", "training.epochs",
                 "training.batch_size", "training.keep", "training.early_stopping", "classify.task", "classify.labels",
                 "classify.text", "classify.label", "classify.separator", "classify.group", "classify.class_weights",
                 "classify.metric"],
    "ppo": ["data.max_length", "training.learning_rate", "training.epochs", "training.batch_size", "training.eval_every",
            "ppo.reward", "ppo.weights", "ppo.combine", "ppo.gold", "ppo.normalise", "ppo.reward_clip", "ppo.whiten_rewards",
            "ppo.missing_stop", "ppo.missing_stop_value", "ppo.kl_coefficient", "ppo.kl_estimator", "ppo.kl_in",
            "ppo.kl_target", "ppo.kl_stop", "ppo.kl_budget", "ppo.keep", "ppo.rollout_size", "ppo.samples",
            "ppo.update_epochs", "ppo.max_new_tokens", "ppo.temperature", "ppo.gamma", "ppo.gae_lambda",
            "ppo.whiten_advantages", "ppo.clip", "ppo.value_clip", "ppo.value_coefficient", "ppo.entropy_coefficient",
            "ppo.critic", "ppo.critic_start", "ppo.critic_learning_rate", "ppo.critic_warmup", "ppo.eval_rows"],
}


# ------------------------------------------------------------------------------------------------------------ commands


def parsed(arguments: list[str]) -> tuple[click.Command, dict]:
    """The command that a line names, and its parameters. Raises click.UsageError for what does not exist."""
    context = program.make_context("align", list(arguments))
    while isinstance(context.command, click.Group):
        group = context.command
        name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)
    return context.command, context.params


@pytest.mark.parametrize("block", pages.blocks("sh"), ids=str)
def test_each_command_exists_with_its_options(block: Block):
    for arguments in pages.commands(block):
        if "--help" in arguments:
            continue
        command, params = parsed(arguments)
        stage = params.get("stage") or (command.name if command.name in STAGES else None)
        if "sets" in params:
            check_settings(stage or "sft", params)


def check_settings(stage: str, params: dict) -> None:
    """The settings of a command are taken by the stage's schema; a config file is read where it is one of ours."""
    config = params.get("config_path")
    given = {key: params.get(key.replace(".", "__")) for key in FLAGS}
    load(stage, config if config and config.startswith("configs/") else None, params["sets"], given)


def test_the_examples_in_every_help_are_valid_too():
    found = [command for command in all_commands(program) if getattr(command, "example", "")]
    assert len(found) > 15
    for command in found:
        block = Block(Path(command.name), ("sh",), command.example)
        test_each_command_exists_with_its_options(block)
        for path in re.findall(r"configs/[\w./-]+\w", command.example):
            assert (ROOT / path).exists(), path


def all_commands(group: click.Group) -> list[click.Command]:
    """A group's commands, its groups' commands, and itself."""
    context = click.Context(group)
    inside = [group.get_command(context, name) for name in group.list_commands(context)]
    return [group, *(found for command in inside
                     for found in (all_commands(command) if isinstance(command, click.Group) else [command]))]


def test_the_commands_of_the_program_are_all_in_the_readme():
    shown = {row[0].strip("`").split()[1] for row in pages.tables(ROOT / "README.md") if row[0].startswith("`align ")}
    assert shown == set(program.list_commands(click.Context(program)))


@pytest.mark.parametrize("block", pages.blocks("sh"), ids=str)
def test_each_make_target_exists(block: Block):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in pages.shell_lines(block):
        if line.startswith("make "):
            target = line.split("#")[0].split()[-1]
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), line


def test_help_blocks_are_the_help():
    for block in pages.blocks("text"):
        first, _, shown = block.text.partition("\n")
        if first.startswith("$ align") and first.endswith("--help"):
            said = CliRunner().invoke(program, first.split()[2:], prog_name="align").output
            assert shown.strip() == said.strip(), f"{block}: python -m alignment {' '.join(first.split()[2:])}"


# ------------------------------------------------------------------------------------------------------ settings, formats


def known_keys() -> set[str]:
    """All dotted keys of all stages, TRL's under `trainer` among them."""
    keys = {line.key for stage in STAGES for line in describe_config(stage)}
    return keys | {f"trainer.{name}" for stage in STAGES for name in allowed(stage)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_key_that_is_named_exists(page: Path):
    known = known_keys()
    named = pages.named_keys(page, {key.split(".")[0] for key in known})
    assert not [key for key in sorted(named - known) if not is_module(key)]


def is_module(name: str) -> bool:
    """`reward.rules` is code and no setting."""
    package = name.split(".")[0]
    return package in OURS and importlib.util.find_spec(name) is not None


def settings_table(stage: str) -> list[str]:
    """The table of a stage page: key, default, meaning, source."""
    lines = {line.key: line for line in describe_config(stage)}
    rows = [settings_row(stage, lines[key]) for key in MAIN_SETTINGS[stage]]
    return ["| Key | Default | Meaning | Source |", "|---|---|---|---|", *rows]


def settings_row(stage: str, line) -> str:
    default, source = f"`{json.dumps(line.default)}`".replace('"', ""), line.source
    if line.key == "training.learning_rate":
        adapter, full = learning_rate(stage, "lora"), learning_rate(stage, "full")
        default, source = f"`{adapter.value:g}`; full tuning `{full.value:g}`", f"{adapter.source}. {full.source}"
    return f"| `{line.key}` | {default} | {line.meaning} | {source} |"


@pytest.mark.parametrize("stage", STAGES)
def test_settings_tables_show_the_real_defaults_and_sources(stage):
    shown = (ROOT / "docs" / f"{stage}.md").read_text(encoding="utf-8").splitlines()
    missing = [row for row in settings_table(stage) if row not in shown]
    assert not missing, "print the tables anew: python -m tests.test_docs"


@pytest.mark.parametrize("block", pages.blocks("yaml"), ids=str)
def test_config_files_load(block: Block, tmp_path):
    (tmp_path / "shown.yaml").write_text(block.text, encoding="utf-8")
    if block.words[1] == "style":
        assert load_guide(tmp_path / "shown.yaml").rules
    else:
        load(block.words[1], tmp_path / "shown.yaml")


def test_each_format_has_an_example_that_is_read(tmp_path):
    shown = set()
    for block in pages.blocks("json"):
        if len(block.words) == 3:
            _, kind, name = block.words
            (tmp_path / "rows.jsonl").write_text(block.text, encoding="utf-8")
            found = read(tmp_path / "rows.jsonl", kind)
            found.ledger.check()
            assert found.ledger.sources[0]["format"] == name and not found.ledger.passed
            shown.add((kind, name))
    assert shown == {(kind, name) for kind in formats.KINDS for name in formats.names(kind)}


def test_each_reason_of_a_bad_row_is_explained():
    folders = ("data_recipes", "data_recipes/formats", "alignment/stages", "alignment/ppo")
    places = [(ROOT / folder).glob("*.py") for folder in folders]
    code = "".join(path.read_text(encoding="utf-8") for path in chain(*places))
    raised = set(re.findall(r"(?:BadRow|_blame)\(\s*\"([a-z]+(?:-[a-z]+)+)\"", code))
    page = ROOT / "docs" / "data-formats.md"
    table = page.read_text(encoding="utf-8").split("| Reason |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)) == raised


# --------------------------------------------------------------------------------------------------- files, links, python


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_lead_somewhere(page: Path):
    for path, anchor in pages.links(page):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        assert not anchor or anchor[1:] in pages.anchors(target), path + anchor
    for path in re.findall(r"(?<![\w/])(?:configs|tests|alignment|data_recipes)/[\w./-]+\w", page.read_text(encoding="utf-8")):
        assert (ROOT / path).exists() or "NAME" in path, path


def test_every_page_is_in_the_index_and_in_the_readme():
    others = {page.name for page in PAGES if page.name not in {"README.md", "index.md"}}
    assert {path for path, _ in pages.links(ROOT / "docs" / "index.md")} >= others
    assert {Path(path).name for path, _ in pages.links(ROOT / "README.md")} >= others


@pytest.mark.parametrize("block", pages.blocks("text", "tree"), ids=str)
def test_the_tree_agrees_with_the_files(block: Block):
    shown = pages.tree(block)
    assert [path for path in shown if not (ROOT / path).exists()] == []
    assert tracked_folders() - set(shown) == set(), "folders that the tree does not show"


def tracked_folders() -> set[str]:
    """Folders of the first level, and of the second one below configs; empty where this is no checkout."""
    if not (ROOT / ".git").exists():
        return set()
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    parents = {Path(name).parent.parts for name in listed}
    first = {parts[0] for parts in parents if parts and not parts[0].startswith(".")}
    return first | {"/".join(parts[:2]) for parts in parents if len(parts) > 1 and parts[0] == "configs"}


@pytest.mark.parametrize("block", pages.blocks("python"), ids=str)
def test_python_compiles_and_finds_its_imports(block: Block):
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in OURS:
            module = importlib.import_module(node.module)
            for name in node.names:
                is_sub = importlib.util.find_spec(f"{node.module}.{name.name}") if hasattr(module, "__path__") else None
                assert is_sub or hasattr(module, name.name), name.name


# ------------------------------------------------------------------------------------------------------------ really run


def test_the_commands_that_are_marked_really_run(tmp_path, monkeypatch, capsys):
    from data_recipes.files import write_jsonl
    from tests import tiny

    monkeypatch.chdir(tmp_path)
    tiny.save_base("base")
    write_jsonl(tmp_path / "support.jsonl", tiny.demonstrations(24))
    write_jsonl(tmp_path / "pairs.jsonl", tiny.comparisons(24))
    write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": f"Where is order {number}?"} for number in range(2)])
    (tmp_path / "reviews.csv").write_text("text,label,shop\n" + "".join(
        f"the film number {number} is {word},{word},{'ab'[number % 2]}\n" for number in range(12) for word in ("good", "bad")))
    (tmp_path / "new.csv").write_text("text\nthe film is good\n")
    for arguments in to_run():
        code = run(arguments)
        assert code == 0, f"align {' '.join(arguments)}\n{capsys.readouterr().err[-2000:]}"
    assert (tmp_path / "runs" / "dpo" / "private" / "report.html").is_file()
    assert not (tmp_path / "runs" / "plan").exists()
    check_manifest_keys(tmp_path / "runs" / "ppo")
    for stage in STAGES:
        check_figures(stage, tmp_path / "runs" / stage)


def check_manifest_keys(folder: Path) -> None:
    """The page of the run directory explains the manifest's keys, all of them and no other."""
    shown = first_cells(ROOT / "docs" / "run-directory.md", "| Key | Holds |")
    manifest = json.loads((folder / "align.json").read_text(encoding="utf-8"))
    assert shown == manifest.keys() - {"format"}


def check_figures(stage: str, folder: Path) -> None:
    """What a stage's page says to watch is in metrics.jsonl."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert first_cells(ROOT / "docs" / f"{stage}.md", "| Figure | Meaning |") <= set().union(*rows)


def first_cells(page: Path, header: str) -> set[str]:
    """The names in backticks in the first column of the table with this header."""
    table = page.read_text(encoding="utf-8").split(header)[1].split("\n\n")[0]
    return {name for line in table.splitlines()[2:] for name in re.findall(r"`([^`]+)`", line.split("|")[1])}


def to_run() -> list[list[str]]:
    """The lines of the `sh run` blocks, each once, in the order of the pages, on a tiny base and with short answers."""
    found: list[list[str]] = []
    for page in RUN_ON:
        for block in pages.blocks("sh", "run"):
            found += [line for line in pages.commands(block) if block.page.name == page and line not in found]
    return [fitted(line) for line in found]


def fitted(line: list[str]) -> list[str]:
    line = ["base" if HUB_MODELS.match(word) else word for word in line]
    if line[0] in {*STAGES} and line[1] != "predict":
        line += ["--set", "hardware.threads=1"]
    if line[0] == "ppo":
        line += ["--max-steps", "4", "--batch-size", "4", *SHORT_ROLLOUTS]
    return [*line, "--max-new-tokens", "8"] if line[0] == "eval" and "prompts.jsonl" in line else line


if __name__ == "__main__":
    for stage in STAGES:
        print(f"\n{stage}.md\n", *settings_table(stage), sep="\n")
