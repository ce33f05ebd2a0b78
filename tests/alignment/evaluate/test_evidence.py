from types import SimpleNamespace

import pytest

from alignment.data import read_rows
from alignment.evaluate.arms import Arm
from alignment.evaluate.evidence import overlap, conversation_key, prompt_keys, proxies
from alignment.evaluate.show import seen_rows
from alignment.merge import RECORD
from alignment.runs import Run
from alignment.sources import resolve
from data_recipes.files import sha256_file, write_json, write_jsonl
from data_recipes.records import Comparison, Demonstration, Message, Prompt, Text


def user(text):
    return Message("user", text)


def assistant(text):
    return Message("assistant", text)


def trained(folder, data, stage="sft", parents=(), content_hash="c", format="auto", path=None, config=None, **roles):
    """A run that was trained on a file (recorded by another `path`, where one is given); parents by role."""
    folder.mkdir(parents=True)
    entries = [
        {"role": role, "path": f"../{name}"} for role, name in [("model", p) for p in parents] + list(roles.items())
    ]
    source = {"path": path or str(data), "sha256": sha256_file(data), "format": format}
    Run(folder, {"stage": stage}).write(
        state="completed", parents=entries, data={"train": {"sources": [source]}}, content_hash=content_hash, config=config
    )
    return Arm(folder.name, (resolve(folder),))


def chats(*texts):
    return [{"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "!"}]} for text in texts]


def pairs(*texts):
    return [{"prompt": text, "chosen": "a", "rejected": "b"} for text in texts]


def test_system_prompts_and_spaces_hide_nothing():
    assert conversation_key([Message("system", "Be kind."), user(" a  b\n")]) == conversation_key(
        [{"role": "user", "content": "a b"}]
    )
    assert conversation_key([user("a")]) != conversation_key([user("b")])


def test_each_beginning_of_a_chat_is_a_prompt():
    chat = Demonstration((user("a"), assistant("x"), user("b"), assistant("y")))
    assert prompt_keys(chat) == {conversation_key([user("a")]), conversation_key([user("a"), assistant("x"), user("b")])}
    pair = Comparison((user("a"),), (assistant("x"),), (assistant("y"),))
    assert (
        prompt_keys(pair) == prompt_keys(Prompt((user("a"),))) == {conversation_key([user("a")])}
        and prompt_keys(Text("a")) == set()
    )


def test_overlap_is_counted_through_the_parents(tmp_path):
    write_jsonl(tmp_path / "demos.jsonl", chats("a", "b"))
    write_jsonl(tmp_path / "pairs.jsonl", pairs("c"))
    sft = trained(tmp_path / "sft", tmp_path / "demos.jsonl")
    dpo = trained(tmp_path / "dpo", tmp_path / "pairs.jsonl", "dpo", ["sft"])
    found = overlap([Prompt((user(text),)) for text in "abcd"], [sft, dpo])
    assert (found["sft"]["rows"], found["dpo"]["rows"], found["dpo"]["of"]) == (2, 3, 4)
    assert len(found["dpo"]["files"]) == 2 and found["dpo"]["unchecked"] == []


@pytest.mark.parametrize("split_seed", [None, 5])
def test_what_a_run_held_out_of_its_file_was_not_trained_on(tmp_path, split_seed):
    texts = [f"question {i}" for i in range(40)]
    write_jsonl(tmp_path / "demos.jsonl", chats(*texts))
    section = SimpleNamespace(train=(str(tmp_path / "demos.jsonl"),), validation=None, validation_share=0.25, format="auto",
                              max_rejected=0)
    split = read_rows(section, "demonstrations", seed=3 if split_seed is None else split_seed, private=None)
    config = {"data": {"validation_share": 0.25, "split_seed": split_seed}, "training": {"seed": 3}}
    arm = trained(tmp_path / "sft", tmp_path / "demos.jsonl", config=config)
    assert len(split.validation) > 1
    for rows, seen in ((split.train, len(split.train)), (split.validation, 0)):
        assert overlap([Prompt(row.messages[:1]) for row in rows], [arm])["sft"]["rows"] == seen


def test_a_file_of_its_own_for_held_out_rows_takes_none_away(tmp_path):
    write_jsonl(tmp_path / "demos.jsonl", chats("a", "b"))
    config = {"data": {"validation": ["others.jsonl"], "validation_share": 0.5}, "training": {"seed": 0}}
    arm = trained(tmp_path / "sft", tmp_path / "demos.jsonl", config=config)
    assert overlap([Prompt((user(text),)) for text in "ab"], [arm])["sft"]["rows"] == 2


def test_files_that_changed_or_went_are_said(tmp_path):
    for name in ("gone", "changed"):
        write_jsonl(tmp_path / f"{name}.jsonl", chats("a"))
    arms = [trained(tmp_path / name, tmp_path / f"{name}.jsonl") for name in ("gone", "changed")]
    (tmp_path / "gone.jsonl").unlink()
    write_jsonl(tmp_path / "changed.jsonl", chats("b"))
    found = overlap([Prompt((user("a"),))], arms)
    assert found["gone"]["unchecked"][0]["why"] == "the file is not there" and found["gone"]["rows"] == 0
    assert found["changed"]["unchecked"][0]["why"] == "the file has changed since"


def test_what_an_ancestor_read_without_prompts_stands_in_nobodys_way(tmp_path):
    """A classifier's texts have no prompt, a file without a row has no format, and a hub data set is not read again."""
    write_jsonl(tmp_path / "labels.jsonl", [{"text": "good", "label": "yes"}])
    (tmp_path / "empty.jsonl").write_text("")
    trained(tmp_path / "classes", tmp_path / "labels.jsonl", "classify", format="text-label")
    trained(tmp_path / "nothing", tmp_path / "empty.jsonl", "sft", ["classes"], format="unknown")
    arm = trained(tmp_path / "sft", tmp_path / "labels.jsonl", "sft", ["nothing"], path="owner/name")
    found = overlap([Prompt((user("good"),))], [arm])["sft"]
    assert found["rows"] == 0 and found["files"] == [str(tmp_path / "empty.jsonl")]
    assert found["unchecked"] == [{"path": "owner/name", "why": "a hub data set is not read again"}]


def test_a_reward_run_from_the_same_pairs_is_a_proxy(tmp_path):
    for name, rows in (("demos", chats("a")), ("pairs", pairs("b")), ("others", pairs("c"))):
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    sft = trained(tmp_path / "sft", tmp_path / "demos.jsonl")
    dpo = trained(tmp_path / "dpo", tmp_path / "pairs.jsonl", "dpo", ["sft"])
    trained(tmp_path / "same", tmp_path / "pairs.jsonl", "reward", ["sft"], "same")
    trained(tmp_path / "other", tmp_path / "others.jsonl", "reward", ["sft"], "other")
    assert [tie["arm"] for tie in proxies(resolve(tmp_path / "same"), [sft, dpo])] == ["dpo"]
    assert proxies(resolve(tmp_path / "other"), [sft, dpo]) == []
    ppo = trained(tmp_path / "ppo", tmp_path / "demos.jsonl", "ppo", ["sft"], reward="other")
    assert "against this reward run" in proxies(resolve(tmp_path / "other"), [ppo])[0]["why"]


def test_a_merged_folder_is_known_by_the_run_it_was_made_from(tmp_path):
    write_jsonl(tmp_path / "pairs.jsonl", pairs("b"))
    trained(tmp_path / "reward", tmp_path / "pairs.jsonl", "reward", content_hash="r")
    dpo = trained(tmp_path / "dpo", tmp_path / "pairs.jsonl", "dpo")
    merged = []
    for name, content in (("reward", "r"), ("dpo", "c"), ("dpo", "another")):
        folder = tmp_path / f"merged-{len(merged)}"
        write_json(folder / RECORD, {"source_name": str(tmp_path / name), "request": {"source": {"content": content}}})
        (folder / "config.json").write_text("{}")
        merged.append(resolve(folder))
    arms = [Arm("m", (merged[1],)), Arm("changed", (merged[2],))]
    assert [tie["arm"] for tie in proxies(merged[0], [dpo, *arms])] == ["dpo", "m"]
    found = overlap([Prompt((user("b"),))], arms)
    assert found["m"]["rows"] == 1 and seen_rows(found["m"]) == "1 of 1" and seen_rows(found["changed"]) == "not known"
