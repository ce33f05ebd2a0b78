"""Run directories: what the same command may continue, what a parent must be, and lineage from manifests alone."""

import json
import multiprocessing
import shutil
from pathlib import Path

import pytest

from alignment.runs.lineage import lineage, list_runs
from alignment.runs import (
    Run,
    check_base,
    check_parent,
    content_hash,
    differences,
    file_hashes,
    locked,
)
from alignment.runs.opening import open_output
from alignment.sources import base_of, looks_like_path, resolve
from data_recipes.errors import Refused

REQUEST = {
    "stage": "sft",
    "config": {"training": {"seed": 1}},
    "data": {"train": ["a" * 64]},
    "model": "m",
    "versions": {"torch": "1"},
}


def make_run(folder, stage="sft", state="completed", parents=(), base=None):
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/old/base", "r": 8}))
    (folder / "adapter_model.safetensors").write_bytes(b"weights of " + stage.encode())
    run = Run(
        folder,
        {
            "format": 1,
            "stage": stage,
            "parents": list(parents),
            "base": base or {"kind": "hub", "id": "o/n"},
            "request": {**REQUEST, "stage": stage},
        },
    )
    run.write(state=state, content_hash=content_hash(folder), files=file_hashes(folder))
    return run


def child_of(folder, parent, stage="dpo"):
    entry = {
        "role": "model",
        "path": f"../{parent.path.name}",
        "stage": parent.stage,
        "content_hash": parent.manifest["content_hash"],
    }
    return make_run(folder, stage, parents=[entry])


def test_an_exported_copy_is_listed_as_one(tmp_path):
    make_run(tmp_path / "sft")
    run = make_run(tmp_path / "public")
    run.write(trained_from=[])
    states = {row["path"].rsplit("/", 1)[1]: row["state"] for row in list_runs(tmp_path)}
    assert states == {"sft": "completed", "public": "exported"}


def test_a_new_folder_starts_and_a_foreign_one_is_refused(tmp_path):
    assert open_output(tmp_path / "run", REQUEST).action == "start"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("x")
    with pytest.raises(Refused, match="thesis.tex"):
        open_output(tmp_path / "other", REQUEST)


@pytest.mark.parametrize(
    ("state", "action"),
    [("completed", "done"), ("interrupted", "continue"), ("failed", "continue"), ("running", "continue")],
)
def test_the_same_command_again(tmp_path, state, action):
    make_run(tmp_path / "run", state=state)
    assert open_output(tmp_path / "run", REQUEST).action == action


@pytest.mark.parametrize(
    "change", [{"data": {"train": ["b" * 64]}}, {"config": {"training": {"seed": 2}}}, {"model": "n"}]
)
@pytest.mark.parametrize("state", ["completed", "interrupted"])
def test_a_changed_input_is_refused_with_the_difference_and_the_flag(tmp_path, change, state):
    make_run(tmp_path / "run", state=state)
    with pytest.raises(Refused) as refused:
        open_output(tmp_path / "run", {**REQUEST, **change})
    assert next(iter(change)) in str(refused.value) and "->" in str(refused.value) and "--restart" in str(refused.value)


def test_other_libraries_warn_when_completed_and_refuse_when_not(tmp_path):
    newer = {**REQUEST, "versions": {"torch": "2"}}
    make_run(tmp_path / "done")
    opening = open_output(tmp_path / "done", newer)
    assert opening.action == "done" and "versions.torch" in opening.notes[0]
    make_run(tmp_path / "half", state="interrupted")
    with pytest.raises(Refused, match="versions.torch"):
        open_output(tmp_path / "half", newer)


def test_restart_keeps_the_old_run_beside_and_children_turn_stale(tmp_path):
    parent = make_run(tmp_path / "sft")
    child_of(tmp_path / "dpo", parent)
    assert not any(row["stale"] for row in list_runs(tmp_path))
    opening = open_output(tmp_path / "sft", {**REQUEST, "model": "n"}, restart=True)
    assert opening.action == "restart" and (tmp_path / "sft.old-1" / "align.json").is_file()
    (tmp_path / "sft" / "adapter_model.safetensors").write_bytes(b"new weights")
    opening.run.write(state="completed", content_hash=content_hash(tmp_path / "sft"))
    rows = {row["path"].rsplit("/", 1)[1]: row for row in list_runs(tmp_path)}
    assert rows["dpo"]["stale"] and not rows["sft"]["stale"]


def test_a_folder_called_base_is_ours_only_where_we_merged_into_it(tmp_path):
    """It may be the very model that is tuned."""
    (tmp_path / "base").mkdir()
    with pytest.raises(Refused, match="holds other files .base."):
        open_output(tmp_path, REQUEST)
    (tmp_path / "base" / "align-merge.json").write_text("{}")
    assert open_output(tmp_path, REQUEST).action == "start"
    make_run(tmp_path / "run", state="refused")
    (tmp_path / "run" / "base").mkdir()
    assert open_output(tmp_path / "run", REQUEST).action == "start" and (tmp_path / "run" / "base").is_dir()
    (tmp_path / "run" / "base" / "align-merge.json").write_text("{}")
    assert open_output(tmp_path / "run", REQUEST).action == "start" and not (tmp_path / "run" / "base").exists()


def test_the_current_folder_can_be_restarted(tmp_path, monkeypatch):
    run = make_run(tmp_path / "sft")
    monkeypatch.chdir(run.path)
    assert open_output(Path("."), REQUEST, restart=True).action == "restart"
    assert (tmp_path / "sft.old-1" / "align.json").is_file()


def test_a_parent_must_be_completed_of_a_fitting_stage_and_unchanged(tmp_path):
    good = make_run(tmp_path / "sft")
    assert check_parent(resolve(good.path), stages=("sft",))["content_hash"] == good.manifest["content_hash"]
    with pytest.raises(Refused, match="interrupted"):
        check_parent(resolve(make_run(tmp_path / "half", state="interrupted").path), stages=("sft",))
    with pytest.raises(Refused, match="reward"):
        check_parent(resolve(make_run(tmp_path / "rm", "reward").path), stages=("sft", "dpo"))
    (good.path / "adapter_model.safetensors").write_bytes(b"other")
    with pytest.raises(Refused, match="adapter_model.safetensors"):
        check_parent(resolve(good.path), stages=("sft",))


def test_where_the_base_lies_is_no_part_of_the_hash(tmp_path):
    run = make_run(tmp_path / "sft")
    config = json.loads((run.path / "adapter_config.json").read_text())
    (run.path / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "/new/place"}))
    assert content_hash(run.path) == run.manifest["content_hash"]
    (run.path / "adapter_config.json").write_text(json.dumps({**config, "r": 9}))
    assert content_hash(run.path) != run.manifest["content_hash"]


def test_lineage_reaches_the_base_and_survives_a_move(tmp_path):
    parent = make_run(tmp_path / "runs" / "sft")
    child_of(tmp_path / "runs" / "dpo", parent)
    shutil.move(tmp_path / "runs", tmp_path / "elsewhere")
    steps = lineage(Run.open(tmp_path / "elsewhere" / "dpo"))
    assert [step["stage"] for step in steps] == ["dpo", "sft", "base"]
    assert steps[-1]["path"] == "o/n" and not any(step["note"] for step in steps)


def test_a_moved_local_base_is_found_or_the_error_names_the_key(tmp_path):
    base = tmp_path / "all" / "base"
    base.mkdir(parents=True)
    (base / "config.json").write_text("{}")
    make_run(tmp_path / "all" / "runs" / "sft", base={"kind": "folder", "path": "../../base", "hash": None})
    shutil.move(tmp_path / "all", tmp_path / "moved")
    source = resolve(tmp_path / "moved" / "runs" / "sft")
    assert base_of(source).path == tmp_path / "moved" / "base"
    shutil.move(tmp_path / "moved" / "base", tmp_path / "gone")
    with pytest.raises(Refused, match="model.base=PATH.*--base-at PATH"):
        base_of(source)
    assert base_of(source, base=str(tmp_path / "gone")).path == tmp_path / "gone"


def test_a_hub_model_in_place_of_a_local_base_is_refused_since_it_cannot_be_compared(tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    source = resolve(make_run(tmp_path / "sft", base={"kind": "folder", "path": "../base", "hash": content_hash(base)}).path)
    check_base(source, base_of(source))
    with pytest.raises(Refused, match="owner/other is the folder.*hf download owner/other"):
        check_base(source, base_of(source, base="hub:owner/other"))
    published = resolve(make_run(tmp_path / "public", base={"kind": "hub", "id": "owner/base", "hash": "0" * 64}).path)
    check_base(published, base_of(published))


def test_files_that_are_no_json_any_more_are_named(tmp_path):
    run = make_run(tmp_path / "sft")
    child_of(tmp_path / "dpo", run)
    (run.path / "adapter_config.json").write_text('{"r": ')
    with pytest.raises(Refused, match=r"not those its manifest was written for \(adapter_config.json\)"):
        check_parent(resolve(run.path), stages=("sft",))
    with pytest.raises(Refused, match=r"adapter_config.json: the file cannot be read as JSON"):
        resolve(run.path).adapter_config()
    for text, said in (('{"stage": ', "cannot be read as JSON"), ("[]", "holds no object"), ("{}", "no stage and no state")):
        (run.path / "align.json").write_text(text)
        with pytest.raises(Refused, match=said):
            check_parent(resolve(run.path), stages=("sft",))
        notes = {row["path"].rsplit("/", 1)[1]: row["note"] for row in list_runs(tmp_path)}
        assert said in notes["sft"] and said in notes["dpo"]


def _hold(path, started, release):
    with locked(path):
        started.set()
        release.wait(10)


def test_a_second_process_is_refused_and_the_lock_dies_with_its_holder(tmp_path):
    context = multiprocessing.get_context("fork")
    started, release = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(tmp_path, started, release))
    holder.start()
    assert started.wait(10)
    with pytest.raises(Refused, match="another process"), locked(tmp_path):
        pass
    holder.kill()
    holder.join()
    with locked(tmp_path):
        pass


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("owner/name", False),
        ("./model", True),
        ("/abs/model", True),
        ("~/m", True),
        ("a/b/c", True),
        ("runs/", True),
        ("bert-base-uncased", False),
        ("..\\x", True),
        ("runs/sft", True),
        ("here/sft", True),
    ],
)
def test_paths_and_hub_ids_are_told_apart(name, path, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    assert looks_like_path(name) is path


def test_a_missing_path_is_an_error_and_a_hub_id_is_one(tmp_path):
    with pytest.raises(Refused, match="no folder"):
        resolve(str(tmp_path / "none"))
    assert resolve("owner/name@v1").revision == "v1"
    assert resolve("hub:owner/name").kind == "hub"


def test_an_existing_folder_is_that_folder_even_where_it_could_be_a_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "sft").mkdir(parents=True)
    (tmp_path / "runs" / "sft" / "config.json").write_text("{}")
    assert resolve("runs/sft").kind == "folder"
    assert resolve("hub:runs/sft").kind == "hub"


def test_differences_name_the_leaves():
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4}) == ["a.c: 2 -> 3", "d: null -> 4"]
