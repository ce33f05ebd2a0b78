"""The command line: light, strict, one paragraph an error, one JSON document a command."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from safetensors import SafetensorError

from alignment.cli import ENTRIES, boundary, program, run
from data_recipes.errors import Failed, Interrupted, Refused
from tests import tiny

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "datasets", "trl", "peft", "numpy", "accelerate", "evaluate")
# Runs a command line and tells which heavy modules it loaded.
PROBE = f"""
import sys
from alignment.cli import run
code = run(sys.argv[1:])
print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
sys.exit(code)
"""


def align(*arguments: str, cwd=ROOT, **options) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, env=environment, check=False
    )


def answer(capsys, *arguments: str) -> tuple[int, dict, str]:
    """Exit code, JSON document and standard error of a command with --json."""
    code = run([*arguments, "--json"])
    caught = capsys.readouterr()
    return code, json.loads(caught.out), caught.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["sft", "--help"],
        ["reward", "--help"],
        ["dpo", "--help"],
        ["config", "show", "--help"],
        ["runs", "--help"],
        ["config", "show", "sft"],
        ["config", "schema", "dpo"],
        ["runs"],
        ["sft", "--output", "x", "--set", "lr=1"],
        ["sft", "--output", "x", "--model", "./none", "--data", "x.jsonl"],
        ["chat", "./none"], ["merge", "none", "--output", "x"],
        ["sfft"],
        ["data", "show", "--help"],
    ],
    ids=" ".join,
)
def test_help_and_refusals_load_nothing_heavy(arguments, tmp_path):
    done = align("-c", PROBE, *arguments, cwd=tmp_path)
    assert done.stderr.strip().splitlines()[-1] == "[]", done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["sft", "--help"]], ids=" ".join)
def test_help_answers_in_three_tenths_of_a_second(arguments):
    assert min(_seconds(["-m", "alignment", *arguments]) for _ in range(3)) < 0.3


def test_a_wrong_key_and_a_missing_file_are_refused_within_a_second(tmp_path):
    base = tiny_folder(tmp_path)
    wrong_key = [
        "-m",
        "alignment",
        "sft",
        "--model",
        base,
        "--output",
        "o",
        "--data",
        "x.jsonl",
        "--set",
        "training.lr=1",
    ]
    no_file = ["-m", "alignment", "sft", "--model", base, "--output", "o", "--data", "x.jsonl"]
    assert min(_seconds(wrong_key, code=2) for _ in range(3)) < 1.0
    assert min(_seconds(no_file, code=2) for _ in range(3)) < 1.0


def _seconds(arguments: list[str], code: int = 0) -> float:
    """Processor time of one command: a clock would measure the neighbours of a busy machine too."""
    before = os.times()
    assert align(*arguments).returncode == code
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def tiny_folder(folder: Path) -> str:
    """A folder that looks like a model to everything that does not load it."""
    (folder / "base").mkdir()
    (folder / "base" / "config.json").write_text("{}")
    return str(folder / "base")


def commands() -> list[click.Command]:
    context = click.Context(program)
    found = [program]
    for name in program.list_commands(context):
        made = program.get_command(context, name)
        found += [made, *inside(made)] if isinstance(made, click.Group) else [made]
    return found


def inside(group: click.Group) -> list[click.Command]:
    context = click.Context(group)
    return [group.get_command(context, name) for name in group.list_commands(context)]


def test_every_help_ends_with_an_example(capsys):
    for made in commands():
        # with the names of the help option: Click keeps the option that it makes first for as long as the command lives
        with click.Context(made, info_name=made.name, help_option_names=["-h", "--help"]) as context:
            help_text = made.get_help(context)
        assert "\n\nExample:\n  align" in help_text, made.name
        assert help_text.rstrip().splitlines()[-1].startswith("  "), made.name


def test_the_short_helps_of_the_table_are_short_sentences():
    for name, entry in ENTRIES.items():
        assert entry.help.endswith(".") and len(entry.help) < 60, name


def test_examples_name_real_commands_and_options():
    for made in commands():
        for line in (made.example or "").strip().splitlines():
            words = line.split("#")[0].split()
            if words[:1] == ["align"] and words[1:]:
                assert words[1] in ENTRIES, line
                target = program.get_command(click.Context(program), words[1])
                if isinstance(target, click.Group):
                    named = {made.name: made for made in inside(target)}
                    target = named.get(words[2] if len(words) > 2 else "", target)
                flags = {flag for option in target.params for flag in option.opts}
                assert {word.split("=")[0] for word in words if word.startswith("--")} <= flags | {
                    "--json",
                    "--help",
                }, line


def test_every_command_has_json_and_debug():
    for made in commands():
        if not isinstance(made, click.Group):
            flags = {flag for option in made.params for flag in option.opts}
            assert {"--json", "--debug"} <= flags, made.name


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (["sft", "--output", "o", "--lr", "fast"], "--lr"),
        (["sft", "--output", "o", "--set", "lr=1"], "--set lr"),
        (["sft"], "align sft"),
        (["sft", "--outptu", "o"], "align sft"),
        (["nothing"], "align"),
        (["config", "show", "pppo"], "align"),
        (["sft", "--output", "o"], "--model"),
        (["sft", "--output", "o", "--model", "a/b"], "--data"),
        (["sft", "--output", "o", "--model", "a/b", "--data", "none.jsonl"], "--data"),
        (["sft", "--output", "o", "--model", "a/b", "--data", "name"], "--data"),
        (["dpo", "--output", "o", "--model", "./none", "--data", "a/b"], "model"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_use_is_one_paragraph_one_document_and_code_2(capsys, monkeypatch, tmp_path, arguments, where):
    monkeypatch.chdir(tmp_path)
    code, document, said = answer(capsys, *arguments)
    assert code == 2 == document["error"]["exit_code"]
    assert document["error"]["where"].startswith(where)
    assert said == f"error: {document['error']['message']}\n" and "\n" not in document["error"]["message"]


def test_a_held_out_file_and_a_tool_file_have_to_exist(capsys, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("{}\n")
    start = ["sft", "--output", str(tmp_path / "o"), "--model", tiny_folder(tmp_path), "--data", str(rows)]
    assert answer(capsys, *start, "--validation", "none.jsonl")[1]["error"]["where"] == "--validation"
    assert answer(capsys, *start, "--set", "data.tools=none.json")[1]["error"]["where"] == "--set data.tools"


def test_an_output_that_is_a_file_is_refused(capsys, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("{}\n")
    code, document, _ = answer(
        capsys, "sft", "--output", str(rows), "--model", tiny_folder(tmp_path), "--data", str(rows)
    )
    assert code == 2 and document["error"]["where"] == "--output"


def program_that(action) -> click.Command:
    @click.command()
    @click.option("--json", is_flag=True)
    @click.option("--debug", is_flag=True)
    def made(json, debug):
        return action()

    return made


def raising(error: BaseException):
    def action():
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (Refused("no", where="a:1"), 2, "a:1: no."),
        (Failed("broke"), 1, "broke."),
        (Interrupted(signal.SIGTERM), 143, "interrupted"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ZeroDivisionError("by\nzero"), 1, "ZeroDivisionError: by zero."),
        (click.FileError("x", "gone"), 1, "gone"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_errors_become_one_paragraph_and_an_exit_code(capsys, error, code, words):
    assert boundary.run(program_that(raising(error)), ["--json"]) == code
    caught = capsys.readouterr()
    assert words in json.loads(caught.out)["error"]["message"]
    assert caught.err.count("\n") == (2 if code == 130 else 1)  # Click ends the line that a Ctrl-C was typed into
    assert "Traceback" not in caught.err


def test_an_unforeseen_error_names_the_way_to_its_traceback(capsys):
    assert boundary.run(program_that(raising(KeyError("x"))), []) == 1
    assert "--debug" in capsys.readouterr().err
    assert boundary.run(program_that(raising(KeyError("x"))), ["--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_what_a_command_prints_beside_its_document_goes_to_standard_error(capsys):
    def action():
        print("noise")
        return {"a": 1}

    assert boundary.run(program_that(action), ["--json"]) == 0
    caught = capsys.readouterr()
    assert json.loads(caught.out) == {"a": 1} and caught.err == "noise\n"


def test_noise_below_python_does_not_reach_the_document():
    code = (
        "import os, click, sys\nfrom alignment.cli import boundary\n"
        "@click.command()\n@click.option('--json', is_flag=True)\n"
        "def made(json):\n    os.system('echo noise')\n    os.write(1, b'more')\n    return {'a': 1}\n"
        "sys.exit(boundary.run(made, ['--json']))"
    )
    done = align("-c", code)
    assert json.loads(done.stdout) == {"a": 1} and "noise" in done.stderr and "more" in done.stderr


def test_without_json_a_result_is_not_printed(capsys):
    assert boundary.run(program_that(lambda: {"a": 1}), []) == 0
    assert capsys.readouterr().out == ""


def test_only_the_first_process_prints_the_document(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert boundary.run(program_that(lambda: {"a": 1}), ["--json"]) == 0
    assert boundary.run(program_that(raising(Failed("broke"))), ["--json"]) == 1
    caught = capsys.readouterr()
    assert caught.out == "" and caught.err == "[process 1] error: broke.\n"


def test_sigterm_before_a_stage_has_its_handlers_exits_143(capsys):
    before = signal.getsignal(signal.SIGTERM)
    assert boundary.run(program_that(lambda: os.kill(os.getpid(), signal.SIGTERM)), []) == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_reader_that_went_away_is_no_traceback():
    code = f"{sys.executable} -m alignment config show sft | head -n 1"
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stderr == ""


def test_the_program_is_the_same_by_its_module():
    assert align("-m", "alignment", "--version").stdout.startswith("align, version ")


def test_the_current_directory_is_importable_and_comes_last(tmp_path):
    (tmp_path / "my_rules.py").write_text("polite = 1\n")
    (tmp_path / "random.py").write_text("raise SystemExit('shadowed')\n")
    code = (
        "import sys; sys.argv = ['align', '--version']\nfrom alignment.cli import main\ntry:\n    main()\n"
        "except SystemExit:\n    pass\nimport my_rules, random\nprint(sys.path[-1])"
    )
    done = align("-P", "-c", code, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.strip().endswith(str(tmp_path)), done.stderr


def test_the_environment_is_set_before_torch_loads():
    code = "import os, alignment; print([os.environ.get(n) for n in ('OMP_WAIT_POLICY', 'HF_HUB_DISABLE_TELEMETRY')])"
    assert align("-c", code).stdout.strip() == "['passive', '1']"
    assert align("-c", code, env={"OMP_WAIT_POLICY": "active"}).stdout.strip() == "['active', '1']"


def test_the_public_names_are_looked_up_lazily():
    names = "sorted(set(alignment.__all__) - set(dir(alignment)))"
    code = f"import sys, alignment; print({names}, [n for n in {HEAVY} if n in sys.modules])"
    assert align("-c", code).stdout.strip() == "[] []"
    import alignment

    assert callable(alignment.sft) and callable(alignment.reward_model) and callable(alignment.dpo)
    with pytest.raises(AttributeError, match="no attribute 'grpo'"):
        _ = alignment.grpo


def test_the_stages_from_python_make_the_same_checks(tmp_path):
    from alignment import sft

    with pytest.raises(Refused, match="there is no such file"):
        sft(model="a/b", data=tmp_path / "none.jsonl", output=tmp_path / "o")
    with pytest.raises(Refused, match="Did you mean training.learning_rate"):
        sft(model="a/b", data="c/d", output=tmp_path / "o", settings={"training.lr": 1})
    assert not (tmp_path / "o").exists()


def test_a_row_is_shown_by_what_is_trained(capsys, tmp_path):
    base, rows = tiny.save_base(tmp_path / "base"), tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in tiny.demonstrations(3)) + '{"messages": []}\n')
    code, document, said = answer(capsys, "data", "show", str(rows), "--model", str(base), "--row", "2")
    assert code == 0 and document["where"].endswith("rows.jsonl:2")
    assert "«" in document["text"] and document["text"] in said and "rows.jsonl:4: " in said
    assert document["ledger"]["read"] == 4 and document["counts"]["rows"] == 3
    code, document, _ = answer(capsys, "data", "show", str(rows), "--model", str(base), "--row", "9")
    assert code == 2 and document["error"]["where"] == "--row"


def test_a_pair_is_shown_with_both_answers(capsys, tmp_path):
    base, rows = tiny.save_base(tmp_path / "base"), tmp_path / "pairs.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in tiny.comparisons(2)))
    code, document, _ = answer(capsys, "data", "show", str(rows), "--model", str(base))
    assert code == 0 and "[chosen]" in document["text"] and "[rejected]" in document["text"]


def test_tiny_rows_train_by_the_command(capsys, tmp_path):
    base, rows, output = tiny.save_base(tmp_path / "base"), tmp_path / "rows.jsonl", tmp_path / "run"
    rows.write_text("".join(json.dumps(row) + "\n" for row in tiny.demonstrations(12)))
    command = [
        "sft",
        "--model",
        str(base),
        "--data",
        str(rows),
        "--output",
        str(output),
        "--max-steps",
        "1",
        "--batch-size",
        "4",
    ]
    code, document, _ = answer(capsys, *command, "--dry-run")
    assert code == 0 and not output.exists() and document
    code, document, _ = answer(capsys, *command)
    assert code == 0 and document["state"] == "completed"
    code, listed, _ = answer(capsys, "runs", str(tmp_path))
    assert code == 0 and [run["stage"] for run in listed["runs"]] == ["sft"]
    assert answer(capsys, "runs", "show", str(output))[1]["lineage"][-1]["stage"] == "base"


@pytest.mark.parametrize("error, words", [
    (OSError(errno.ENOSPC, "No space left on device", "runs/a/model.bin"), ["runs/a/model.bin: the disk is full"]),
    (SafetensorError("I/O error: No space left on device (os error 28)"), ["the disk is full", "same command then goes on"]),
    (PermissionError(errno.EACCES, "Permission denied", "/root/runs"), ["/root/runs: the system does not allow it"]),
], ids=["full", "full, as safetensors says it", "denied"])
def test_what_the_system_refuses_is_said_in_a_paragraph(error, words):
    known = boundary.as_align_error(error)
    assert all(part in known.paragraph() for part in words) and "foreseen" not in known.paragraph()
    assert known.exit_code == 1


def test_an_error_of_the_system_that_nobody_can_mend_stays_unforeseen():
    assert "not foreseen" in boundary.as_align_error(OSError(errno.EPROTO, "Protocol error")).paragraph()


def test_a_missing_package_names_the_extra_that_brings_it():
    error = boundary.as_align_error(ModuleNotFoundError("No module named 'torch'", name="torch"))
    assert error.exit_code == 1 and ".[train]" in error.paragraph()
    assert ".[collect]" in boundary.as_align_error(ModuleNotFoundError("", name="starlette.routing")).paragraph()
