"""What is published and what is not: names, paths, secrets, bases; folders and a hub."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest

from alignment.merge import MergeRequest, merge
from alignment.models import load_policy, outputs
from alignment.publishing.publish import ExportRequest, export
from alignment.publishing.scrub import without_absolute
from alignment.publishing.secret_scan import find_in
from alignment.runs import Run, content_hash
from alignment.sources import resolve
from data_recipes.errors import Failed, Refused
from data_recipes.files import sha256_file
from tests.alignment.made_runs import full_run, policy_run
from tests.alignment.test_merge import Heard
from tests.tiny import save_base

SECRET = "hf_" + "a1B2" * 9


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("publish")
    base = save_base(folder / "base")
    run = policy_run(folder / "runs" / "sft", base)
    for name in ("private", "checkpoints"):
        (run / name).mkdir()
        (run / name / "rows.jsonl").write_text("{}\n")
    (run / "metrics.jsonl").write_text('{"loss": 1.5}\n')
    (run / "training_args.bin").write_bytes(b"pickle")
    (run / "README.md").write_text(
        f"---\ntags: [align]\n---\n\n# A model\n\nTuned from `{base}`.\n\n## Figures\n\nloss 1.5\n"
    )
    return SimpleNamespace(base=base, run=run)


@pytest.fixture
def made(prepared, tmp_path):
    """A copy that a test may change; the base stays where it is."""
    run = tmp_path / "runs" / "sft"
    shutil.copytree(prepared.run, run)
    return SimpleNamespace(base=prepared.base, run=run, out=tmp_path / "public")


def to_folder(made, environ=None, **more):
    request = ExportRequest(str(made.run), "folder", made.out, base_id="owner/base", **more)
    return export(request, Heard(), environ=environ or {})


def all_text(folder) -> str:
    return "".join(file.read_bytes().decode("utf-8", "replace") for file in folder.rglob("*") if file.is_file())


def test_only_what_may_be_published_is_there(made):
    summary = to_folder(made)
    names = sorted(str(file.relative_to(made.out)) for file in made.out.rglob("*"))
    assert (
        names
        == sorted(summary["published"])
        == sorted(
            [
                "README.md",
                "adapter_config.json",
                "adapter_model.safetensors",
                "align.json",
                "chat_template.jinja",
                "tokenizer.json",
                "tokenizer_config.json",
            ]
        )
    )
    assert {"private/", "checkpoints/", "metrics.jsonl", "training_args.bin"} <= set(summary["left"])
    text = all_text(made.out)
    assert (
        str(made.base) not in text and str(made.run) not in text and "secret.jsonl" not in text and '"loss"' not in text
    )
    assert "Tuned from `owner/base`" in text and "---\nbase_model: owner/base\ntags" in text and "loss 1.5" not in text


def test_the_published_adapter_names_its_base_and_is_a_run_again(made):
    to_folder(made)
    config = json.loads((made.out / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "owner/base"
    assert Run.open(made.out).manifest["data"]["train"]["kept"] == 3
    source = resolve(made.out)
    assert source.kind == "run" and Run.open(made.out).state == "completed"
    assert Run.open(made.out).manifest["content_hash"] == content_hash(made.out)
    Run.open(made.out).check_unchanged()
    rows = [[5, 6, 7]]
    expected = outputs(load_policy(str(made.run)).model, rows)
    assert outputs(load_policy(str(made.out), base=str(made.base)).model, rows).equal(expected)


def test_a_hub_base_keeps_its_name_and_revision(made):
    config = json.loads((made.run / "adapter_config.json").read_text())
    (made.run / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "owner/real"}))
    run = Run.open(made.run)
    run.write(
        base={"kind": "hub", "id": "owner/real", "revision": "abc123", "hash": None},
        content_hash=content_hash(made.run),
    )
    export(ExportRequest(str(made.run), "folder", made.out), Heard(), environ={})
    published = json.loads((made.out / "adapter_config.json").read_text())
    assert (published["base_model_name_or_path"], published["revision"]) == ("owner/real", "abc123")
    assert Run.open(made.out).manifest["base"]["id"] == "owner/real"


def test_a_local_base_needs_a_public_name(made):
    with pytest.raises(Refused, match="folder on this machine.*--base-id owner/name.*align merge"):
        export(ExportRequest(str(made.run), "folder", made.out), Heard(), environ={})
    assert not made.out.exists()


def test_a_merged_model_is_exported_without_a_base(made):
    merge(MergeRequest(str(made.run), made.run.parent / "merged"), Heard())
    export(ExportRequest(str(made.run.parent / "merged"), "folder", made.out), Heard(), environ={})
    text = all_text(made.out)
    assert (made.out / "model.safetensors").is_file() and (made.out / "align-merge.json").is_file()
    assert str(made.base) not in text and str(made.run) not in text
    with pytest.raises(Refused, match="--base-id is for adapters"):
        export(ExportRequest(str(made.run.parent / "merged"), "folder", made.out, base_id="a/b"), Heard(), environ={})


def test_a_wholly_tuned_run_is_exported_without_a_base(made):
    run = full_run(made.run.parent / "full", made.base)
    export(ExportRequest(str(run), "folder", made.out), Heard(), environ={})
    assert Run.open(made.out).manifest["base"] == {"kind": "none"} and str(made.base) not in all_text(made.out)
    rows = [[5, 6, 7]]
    assert outputs(load_policy(str(made.out)).model, rows).equal(outputs(load_policy(str(run)).model, rows))


def test_metrics_are_published_only_when_asked(made):
    to_folder(made, with_metrics=True)
    assert (made.out / "metrics.jsonl").is_file() and Run.open(made.out).manifest["metrics"] == {"loss": 1.5}
    assert "loss 1.5" in (made.out / "README.md").read_text()


@pytest.mark.parametrize("file", ["README.md", "chat_template.jinja", "tokenizer_config.json"])
def test_a_secret_of_the_environment_is_found_in_any_file_and_not_repeated(made, file):
    path, value = made.run / file, "correct-horse-battery"
    if path.suffix == ".json":
        path.write_text(json.dumps({**json.loads(path.read_text()), "note": value}))
    else:
        path.write_text(value + path.read_text())
    Run.open(made.run).write(content_hash=content_hash(made.run))
    with pytest.raises(Refused, match=f"{file} holds the value of the environment variable MY_API_KEY") as refused:
        to_folder(made, {"MY_API_KEY": value, "OTHER_TOKEN": "1", "HOME_SWEET": value})
    assert value not in str(refused.value) and not made.out.exists()


def test_common_tokens_are_found_without_the_environment(made):
    (made.run / "README.md").write_text(f"Use {SECRET} to log in.")
    with pytest.raises(Refused, match="README.md holds a Hugging Face token"):
        to_folder(made)
    assert find_in(b"AKIA" + b"ABCD1234EFGH5678", {}) == ["an AWS access key"]
    assert find_in(b"-----BEGIN RSA PRIVATE KEY-----", {}) == ["a private key"]
    assert find_in(b"hf_ and sk-learn and ghp_ are words; " + b"AKIA", {}) == []


def test_a_vocabulary_is_no_place_for_a_weak_password(made):
    to_folder(made, {"DB_PASSWORD": "pre_tokenizer", "TOKENIZER": "TokenizersBackend"})
    made.out = made.out.with_name("other")
    with pytest.raises(Refused, match="tokenizer.json holds the value of the environment variable DB_PASSWORD"):
        to_folder(made, {"DB_PASSWORD": '"pre_tokenizer": {'})


def test_a_secret_in_a_weights_files_header_is_found(made):
    from safetensors.torch import load_file, save_file

    weights = load_file(made.run / "adapter_model.safetensors")
    save_file(weights, made.run / "adapter_model.safetensors", metadata={"by": SECRET})
    Run.open(made.run).write(content_hash=content_hash(made.run))
    with pytest.raises(Refused, match="adapter_model.safetensors holds a Hugging Face token"):
        to_folder(made)


def test_a_path_of_this_machine_in_a_card_is_refused(made):
    (made.run / "README.md").write_text(f"See {made.run}/private for samples.")
    with pytest.raises(Refused, match="README.md names the path"):
        to_folder(made)


def test_the_same_export_again_says_so_and_another_is_refused(made):
    to_folder(made)
    assert to_folder(made)["state"] == "already-completed"
    (made.out / "README.md").write_text("changed")
    with pytest.raises(Refused, match="there already and differs"):
        to_folder(made)
    assert (made.out / "README.md").read_text() == "changed" and not list(made.out.parent.glob(".*"))


def test_an_unfinished_run_is_refused(made):
    Run.open(made.run).write(state="interrupted")
    with pytest.raises(Refused, match="interrupted, not completed"):
        to_folder(made)


def test_a_dry_run_lists_and_writes_nothing(made):
    request = ExportRequest(str(made.run), "folder", made.out, base_id="owner/base")
    assert "adapter_model.safetensors" in export(request, Heard(), dry_run=True)["published"] and not made.out.exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"to": "folder"},
        {"to": "hub"},
        {"to": "mail"},
        {"to": "hub", "repo": "no-owner"},
        {"to": "folder", "output": ".", "private": True},
        {"to": "hub", "repo": "a/b", "output": "x"},
    ],
)
def test_wrong_combinations_are_refused(wrong):
    with pytest.raises(Refused):
        ExportRequest("runs/sft", **wrong)


class Hub:
    """The five calls of `huggingface_hub.HfApi` that an export makes."""

    def __init__(self, *, public=False, loses=(), weights="0" * 64):
        self.public, self.loses, self.weights, self.calls, self.files = public, loses, weights, [], {}

    def model_info(self, repo_id, *, files_metadata):
        assert files_metadata
        files = [("model.safetensors", self.weights), ("README.md", None)]
        return SimpleNamespace(
            siblings=[SimpleNamespace(rfilename=name, lfs=sha and SimpleNamespace(sha256=sha)) for name, sha in files]
        )

    def create_repo(self, repo_id, *, private, exist_ok, repo_type):
        self.calls.append(("create", repo_id, private, exist_ok, repo_type))

    def repo_info(self, repo_id):
        return SimpleNamespace(private=not self.public)

    def upload_folder(self, *, repo_id, folder_path, commit_message):
        from pathlib import Path

        root = Path(folder_path)
        self.files = {
            str(f.relative_to(root)): f.read_bytes()
            for f in root.rglob("*")
            if f.is_file() and f.name not in self.loses
        }
        return SimpleNamespace(repo_url=f"https://hub.example/{repo_id}")

    def list_repo_files(self, repo_id):
        return [*self.files, ".gitattributes"]


def to_hub(made, hub, environ=None, *, heard=None, **more):
    hub.weights = hub.weights.replace("0" * 64, sha256_file(made.base / "model.safetensors"))
    request = ExportRequest(str(made.run), "hub", repo="ana/support", base_id="owner/base", **more)
    return export(request, heard or Heard(), api=hub, environ=environ or {})


def test_the_public_base_has_to_have_the_weights_that_were_trained_on(made):
    heard = Heard()
    to_hub(made, Hub(), heard=heard)
    assert "owner/base has the weights this was trained on (model.safetensors)" in heard.said
    hub = Hub(weights="f" * 64)
    with pytest.raises(Refused, match="owner/base is not the base this was trained on: model.safetensors"):
        to_hub(made, hub)
    assert not hub.calls


def test_what_could_not_be_compared_with_the_public_base_is_said(made, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    heard = Heard()
    export(ExportRequest(str(made.run), "folder", made.out, base_id="owner/base"), heard, environ={})
    assert any("was not checked: the hub is switched off" in text for text in heard.said)


def test_the_hub_gets_exactly_the_folder(made):
    hub = Hub()
    summary = to_hub(made, hub, private=True)
    to_folder(made)
    assert hub.files == {file.name: file.read_bytes() for file in made.out.iterdir()}
    assert hub.calls == [("create", "ana/support", True, True, "model")]
    assert summary["address"] == "https://hub.example/ana/support"
    assert sorted(item.name for item in made.run.parent.iterdir()) == ["sft"]


def test_private_is_kept_and_arrival_is_proven(made):
    hub = Hub(public=True)
    with pytest.raises(Refused, match="exists and is public"):
        to_hub(made, hub, private=True)
    assert not hub.files
    with pytest.raises(Failed, match="1 files did not arrive: align.json"):
        to_hub(made, Hub(loses=("align.json",)))


def test_a_secret_is_found_before_anything_reaches_the_hub(made):
    hub = Hub()
    (made.run / "README.md").write_text(SECRET)
    with pytest.raises(Refused, match="Hugging Face token"):
        to_hub(made, hub)
    assert not hub.calls and not hub.files


def test_the_real_api_has_the_calls_that_are_made():
    import inspect

    from huggingface_hub import HfApi

    for name, wanted in {
        "create_repo": ["private", "exist_ok", "repo_type"],
        "repo_info": [],
        "upload_folder": ["repo_id", "folder_path", "commit_message"],
        "list_repo_files": [],
        "model_info": ["files_metadata"],
    }.items():
        assert set(wanted) <= set(inspect.signature(getattr(HfApi, name)).parameters)


def test_absolute_paths_become_names_and_other_texts_stay():
    value = {"a": "/home/ana/x.jsonl", "b": ["C:\\data\\y.csv", "~/z", "1/2", "owner/name", "https://x/y"], "c": 3}
    assert without_absolute(value) == {"a": "x.jsonl", "b": ["y.csv", "z", "1/2", "owner/name", "https://x/y"], "c": 3}
