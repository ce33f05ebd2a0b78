import pytest

from alignment.evaluate.arms import ancestors, base_source, parse, parse_one
from alignment.runs import Run, content_hash
from alignment.sources import resolve
from data_recipes.errors import Refused
from tests.tiny import save_base


def make_run(folder, stage="sft", state="completed", parents=(), **facts):
    folder.mkdir(parents=True)
    run = Run(folder, {"stage": stage, "parents": [{"role": "model", "path": f"../{name}"} for name in parents]})
    (folder / "config.json").write_text("{}")
    run.write(state=state, content_hash=content_hash(folder), **facts)
    return folder


def test_one_run_is_one_arm(tmp_path):
    found = parse_one(str(make_run(tmp_path / "sft")) + "/")
    assert found.name == str(tmp_path / "sft") and len(found.members) == 1


def test_seeds_and_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in (1, 2):
        make_run(tmp_path / f"runs/dpo-{seed}")
    grouped = parse_one("runs/dpo-1,runs/dpo-2")
    assert grouped.name == "runs/dpo-*" and [member.text for member in grouped.members] == ["runs/dpo-1", "runs/dpo-2"]
    assert parse_one("tuned=runs/dpo-1,runs/dpo-2").name == "tuned"
    assert parse_one("owner/name").members[0].kind == "hub"


def test_what_cannot_be_seeds_of_one_run_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, stage in (("sft", "sft"), ("sft2", "sft"), ("dpo", "dpo")):
        make_run(tmp_path / name, stage)
    with pytest.raises(Refused, match="several stages .dpo, sft.*a space in place of the comma"):
        parse_one("both=./sft,./dpo")
    with pytest.raises(Refused, match="'./sft' stands twice"):
        parse_one("./sft,./sft2,./sft")
    assert len(parse_one("./sft,./sft2").members) == 2


def test_a_folder_with_a_comma_is_that_folder(tmp_path):
    assert parse_one(str(make_run(tmp_path / "a,b=c"))).name.endswith("a,b=c")


def test_what_is_refused(tmp_path):
    running = make_run(tmp_path / "running", state="running")
    for text, says in ((str(running), "running, not completed"), ("./none", "no folder"), (",", "no model")):
        with pytest.raises(Refused, match=says):
            parse_one(text)
    altered = make_run(tmp_path / "altered")
    (altered / "config.json").write_text('{"altered": true}')
    with pytest.raises(Refused, match="config.json|not those its manifest"):
        parse_one(str(altered))
    done = str(make_run(tmp_path / "done"))
    with pytest.raises(Refused, match="two arms"):
        parse((done, done))
    with pytest.raises(Refused, match="does not say what its base is"):
        parse((done,), base=True)


def test_the_base_of_a_whole_model_is_in_its_manifest(tmp_path):
    base = save_base(tmp_path / "base")
    run = make_run(tmp_path / "full", base={"kind": "folder", "path": "../base"})
    arms = parse((str(run),), base=True)
    assert arms[1].name == "base" and arms[1].members[0].path == base and arms[1].dressed_as == resolve(run)
    hub = make_run(tmp_path / "hub", base={"kind": "hub", "id": "owner/name", "revision": "main"})
    assert base_source(resolve(hub)).hub_id == "owner/name"


def test_ancestors_are_followed_once_each(tmp_path):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", parents=("a", "gone"))
    make_run(tmp_path / "c", parents=("b", "a"))
    assert {run.path.name for run in ancestors(resolve(tmp_path / "c"))} == {"a", "b", "c"}
