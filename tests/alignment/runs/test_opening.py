"""What a command does with its output folder: said by --dry-run, done by the command, and the same of both."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from alignment.config import load
from alignment.runs import Run, changes
from alignment.runs.opening import Opening, decide, in_words, open_output
from data_recipes.errors import Interrupted, Refused
from tests.alignment.chains import QUICK, StoppingUi, run_stage, world
from tests.alignment.runs.test_runs import REQUEST, make_run


def everything(folder: Path) -> dict[str, str]:
    """All that lies in a folder, with the hash of each file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A world with a run that was interrupted after step 3, and one that is completed."""
    home = tmp_path_factory.mktemp("home")
    files = world(home, rows=12)
    with pytest.raises(Interrupted):
        run_stage("sft", files, files["base"], home / "half", ui=StoppingUi(at=2))
    run_stage("sft", files, files["base"], home / "whole", training__max_steps=1)
    return home, files


def dry(stopped, name, **settings):
    home, files = stopped
    return run_stage("sft", files, files["base"], home / name, dry_run=True, **settings)["output"]


def test_a_dry_run_says_what_the_command_would_do_with_the_folder_and_writes_nothing(stopped):
    home, _ = stopped
    before = everything(home)
    assert dry(stopped, "new") == {"path": str(home / "new"), "action": "start"}
    assert dry(stopped, "half") == {"path": str(home / "half"), "action": "continue", "step": 3}
    assert dry(stopped, "whole", training__max_steps=1) == {"path": str(home / "whole"), "action": "done"}
    anew = dry(stopped, "half", restart=True, training__seed=8)
    assert anew == {"path": str(home / "half"), "action": "restart", "kept": str(home / "half.old-1")}
    assert everything(home) == before


def test_a_dry_run_is_refused_where_the_command_would_be(stopped, tmp_path):
    home, files = stopped
    (tmp_path / "thesis.tex").write_text("x")
    before = everything(home)
    with pytest.raises(Refused, match="holds other files .thesis.tex"):
        run_stage("sft", files, files["base"], tmp_path, dry_run=True)
    with pytest.raises(Refused, match=r"config.training.seed: 42 -> 8.*--restart"):
        dry(stopped, "half", training__seed=8)
    with pytest.raises(Refused, match="stage: .*sft.* -> .*dpo"):
        run_stage("dpo", files, files["base"], home / "whole", dry_run=True, training__max_steps=1)
    assert everything(home) == before and [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_the_text_of_a_dry_run_names_folder_and_step(stopped):
    home, files = stopped
    said = []
    ui = StoppingUi()
    ui.table = lambda title, rows, header=None: said.append((title, dict(rows) if header is None else {}))
    run_stage("sft", files, files["base"], home / "half", dry_run=True, ui=ui)
    assert said[-1][1]["output"] == f"{home / 'half'}: the run continues after step 3"


def test_a_checkpoint_that_cannot_be_used_is_not_the_one_that_a_dry_run_names(stopped, tmp_path):
    home, _ = stopped
    shutil.copytree(home / "half", tmp_path / "half")
    next((tmp_path / "half" / "checkpoints").glob("*/adapter_model.safetensors")).write_bytes(b"altered")
    before = everything(tmp_path)
    opening = Opening(Run.open(tmp_path / "half"), "continue")
    assert opening.as_dict()["step"] == 0 and "no whole checkpoint" in in_words(opening.as_dict())
    assert everything(tmp_path) == before


def test_a_dry_run_of_an_interrupted_run_knows_its_merged_base(stopped, tmp_path):
    home, files = stopped
    merged = {"adapter__rank": 2, "adapter__on_parent": "merge"}
    with pytest.raises(Interrupted):
        run_stage("sft", files, home / "whole", tmp_path / "more", ui=StoppingUi(at=1), **merged)
    said = run_stage("sft", files, home / "whole", tmp_path / "more", dry_run=True, **merged)
    assert said["output"]["step"] == 2


def test_what_is_decided_is_what_is_done(tmp_path):
    make_run(tmp_path / "limits", state="refused")
    make_run(tmp_path / "done")
    for name, how in (("new", {}), ("limits", {}), ("done", {}), ("done", {"restart": True})):
        before = everything(tmp_path)
        decided = decide(tmp_path / name, REQUEST, **how)
        assert everything(tmp_path) == before
        opened = open_output(tmp_path / name, REQUEST, **how)
        assert (decided.action, decided.kept) == (opened.action, opened.kept)


def test_a_launcher_that_starts_its_processes_anew_does_not_say_restart_again(stopped, monkeypatch):
    home, files = stopped
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    again = run_stage("sft", files, files["base"], home / "whole", restart=True, training__max_steps=1)
    assert again["state"] == "completed" and not list(home.glob("whole.old*"))


# --------------------------------------------------------------------------------------------- a release that adds a key


def forget(run: Path, section: str, key: str) -> None:
    """Writes the manifest as a release would have that did not know the key."""
    manifest = json.loads((run / "align.json").read_text())
    del manifest["request"]["config"][section][key]
    del manifest["request"]["tools"]
    (run / "align.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(("name", "settings"), [("whole", {"training__max_steps": 1}), ("half", {})])
def test_a_key_that_a_release_added_is_no_difference_unless_somebody_uses_it(stopped, tmp_path, name, settings):
    home, files = stopped
    shutil.copytree(home / name, tmp_path / name)
    forget(tmp_path / name, "training", "label_smoothing")
    run_stage("sft", files, files["base"], tmp_path / name, dry_run=True, **settings)
    for value in (0.1, 0.0):  # the default too, where it is written: a release may mean by it what the older one did not do
        with pytest.raises(Refused, match=r"config.training.label_smoothing: null -> 0"):
            run_stage("sft", files, files["base"], tmp_path / name, dry_run=True, **settings, training__label_smoothing=value)


def test_usual_is_what_nobody_wrote_and_what_has_its_default():
    config = load("sft", nouns={"training.seed": 42, "training.epochs": 3})
    usual = config.usual()
    assert "training.label_smoothing" in usual and "adapter.targets" in usual
    assert not {"training.seed", "training.epochs", "training.learning_rate"} & usual  # the rate was made of `auto`
    assert QUICK.keys() - {"data.validation_share"} <= {
        f"{section}.{key}" for section, content in config.resolved().items() if isinstance(content, dict) for key in content
    }


def test_a_known_key_always_differs_and_a_new_section_of_defaults_does_not():
    old = {"config": {"training": {"seed": 1}}, "versions": {"torch": "1"}}
    usual = frozenset({"training.seed", "tuning.width"})
    new = {"config": {"training": {"seed": 2}, "tuning": {"width": 3}}, "versions": {"torch": "1"}, "tools": []}
    assert changes(old, new, usual) == ["config.training.seed: 1 -> 2"]
    assert changes(old, {**new, "tools": ["hash"]}, usual)[-1] == 'tools: null -> ["hash"]'
    assert changes(old, new, frozenset())[-1] == 'config.tuning: null -> {"width": 3}'
    assert changes({**old, "config": {**old["config"], "gone": {"key": 1}}}, new, usual)[0] == 'config.gone: {"key": 1} -> null'
