"""Paths and hub data sets told apart, and a folder read through the same function as the hub."""

import json

import pytest

from data_recipes.errors import Refused
from data_recipes.origins import looks_like_path, resolve
from data_recipes.readers import read


@pytest.mark.parametrize("name", [
    "rows.jsonl", "data/rows.jsonl", "data/rows.csv.gz", "./rows", "../owner/name", "~/rows", "/owner/name", "a/b/c",
    "name", "a\\b", "owner/", "data/pairs.parquet", "data/notes.txt",
])
def test_what_can_only_be_a_path_must_exist(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert looks_like_path(name)
    with pytest.raises(Refused, match="no such file"):
        resolve(name)


def test_owner_and_name_is_a_hub_data_set_unless_it_is_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = resolve(["trl-lib/Capybara", "a/b:test", "hub:c/d"])
    (subset,) = resolve("allenai/tulu:code:test")
    assert (subset.name, subset.config, subset.split) == ("allenai/tulu", "code", "test")
    assert [(origin.name, origin.path, origin.split) for origin in found] == [
        ("trl-lib/Capybara", None, "train"), ("a/b", None, "test"), ("c/d", None, "train")]
    (tmp_path / "trl-lib").mkdir()
    with pytest.raises(Refused, match="no such file"):  # its folder is here, so a typing mistake is likelier
        resolve("trl-lib/Capybara")
    (tmp_path / "trl-lib" / "Capybara").write_text("{}")
    assert resolve("trl-lib/Capybara")[0].path.is_file()
    assert resolve("hub:trl-lib/Capybara")[0].path is None


def test_the_hub_is_not_asked_when_it_is_switched_off(monkeypatch):
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(Refused, match="hub is switched off"):
        read("owner/name", "demonstrations")


def test_a_folder_with_one_data_file_is_that_file(tmp_path):
    with pytest.raises(Refused, match="holds 0 data files"):
        resolve(tmp_path)
    (tmp_path / "README.md").write_text("words")
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n')
    assert resolve(tmp_path)[0].path == tmp_path / "rows.jsonl"
    (tmp_path / "more.csv").write_text("text\na\n")
    with pytest.raises(Refused, match="more.csv, rows.jsonl"):
        resolve(tmp_path)


def test_nothing_given():
    with pytest.raises(Refused, match="no data"):
        resolve([])


def test_rows_by_way_of_datasets_keep_text_and_name_dates(tmp_path, monkeypatch):
    pytest.importorskip("datasets")
    from data_recipes.arrow_rows import iter_hub

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "set").mkdir()
    rows = [{"prompt": f"Hi {n}", "completion": "Hello", "day": f"2024-01-0{n + 1}"} for n in range(3)]
    (tmp_path / "set" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    notes = []
    found = list(iter_hub(str(tmp_path / "set"), "train", notes))
    assert [where.rpartition(":")[2] for where, _ in found] == ["1", "2", "3"]
    assert found[0][1]["prompt"] == "Hi 0" and found[2][1]["day"].startswith("2024-01-03")
    assert isinstance(found[0][1]["day"], str)


def test_a_folder_written_by_datasets(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = [{"prompt": f"Hi {n}", "completion": "Hello"} for n in range(3)]
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "saved")
    found = read(tmp_path / "saved", "demonstrations")
    assert len(found) == 3 and found.ledger.sources[0]["format"] == "prompt-completion"
    datasets.Dataset.from_list(rows[::-1]).save_to_disk(tmp_path / "turned")
    first, again, turned = (read(tmp_path / name, "demonstrations").ledger.sources[0]["sha256"]
                            for name in ("saved", "saved", "turned"))
    assert first == again != turned and len(first) == 64


def test_a_split_that_is_not_there(tmp_path, monkeypatch):
    pytest.importorskip("datasets")
    from data_recipes.arrow_rows import iter_hub

    (tmp_path / "train.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(Refused, match="could not be loaded"):
        list(iter_hub(str(tmp_path), "nowhere", []))


def test_a_subset_is_handed_on_and_stands_in_the_place(tmp_path):
    pytest.importorskip("datasets")
    from data_recipes.arrow_rows import iter_hub

    for name in ("code", "chat"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": name}) + "\n")
    configs = "".join(f"- config_name: {name}\n  data_files: {name}.jsonl\n" for name in ("code", "chat"))
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    assert list(iter_hub(str(tmp_path), "train", [], "chat")) == [(f"{tmp_path}:chat:train:1", {"text": "chat"})]
    with pytest.raises(Refused, match="code"):  # without a subset its names are listed
        list(iter_hub(str(tmp_path), "train", []))


def test_a_list_of_refused_rows_is_no_data(tmp_path):
    row = json.dumps({"prompt": "a", "completion": "b"})
    for name in ("rows.jsonl", "rows.jsonl.rejected.jsonl", "rejected.jsonl"):
        (tmp_path / name).write_text(row)
    assert resolve(str(tmp_path))[0].path.name == "rows.jsonl"
