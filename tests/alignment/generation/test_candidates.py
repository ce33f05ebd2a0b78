"""`align generate`: rows, several models, the same command again after a kill at any byte, refusals."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest

from alignment.cli import run
from alignment.generation.batched import generate
from alignment.generation.candidates import Request, generate_file
from alignment.generation.decoding import Decoding
from alignment.generation.resumable import keep_whole_lines, meta_file, part_file, parts_folder
from alignment.models import load_policy
from alignment.runs import Run
from data_recipes.errors import Refused
from data_recipes.files import write_jsonl
from tests.alignment.made_runs import policy_run, reward_run
from tests.alignment.test_merge import Heard
from tests.tiny import save_base, tokenizer

QUESTIONS = ["Hello?", "Where is my order 17, please?", "Hi", "What is the rule for returns?", "Bye."]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("candidates")
    base = save_base(folder / "base")
    rows = [{"prompt": [{"role": "user", "content": text}], "topic": f"t{i}"} for i, text in enumerate(QUESTIONS)]
    write_jsonl(folder / "prompts.jsonl", rows)
    return SimpleNamespace(base=base, run=policy_run(folder / "sft", base), data=folder / "prompts.jsonl")


def request(made, output, **changes) -> Request:
    settings = {"samples": 2, "decoding": Decoding(6, 1.0, seed=3), "batch_size": 2, **changes}
    models = settings.pop("models", (str(made.run),))
    return Request(models, str(made.data), output, **settings)


def rows_of(file) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_rows_hold_prompt_answers_their_makers_and_the_other_columns(made, tmp_path):
    output = tmp_path / "out.jsonl"
    summary = generate_file(request(made, output, models=(str(made.run), str(made.base))), Heard())
    rows = rows_of(output)
    assert summary["state"] == "completed" and [row["topic"] for row in rows] == [f"t{i}" for i in range(5)]
    assert [row["prompt"][0]["content"] for row in rows] == QUESTIONS
    assert all(
        len(row["responses"]) == 4 and row["sources"] == [str(made.run)] * 2 + [str(made.base)] * 2 for row in rows
    )
    loaded = load_policy(str(made.run))
    alone = generate(
        loaded,
        [loaded.renderer().prompt(rows[3]["prompt"])],
        max_new_tokens=6,
        temperature=1.0,
        seed=[rows[3]["generation"]["seeds"][1]],
    )[0]
    assert rows[3]["responses"][1] == alone.text and rows[3]["generation"]["tokens"][1] == alone.tokens
    record = json.loads(meta_file(output).read_text())
    assert record["state"] == "completed" and record["request"]["decoding"]["seed"] == 3
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out.jsonl", "out.jsonl.meta.json"]


def test_a_base_without_a_template_says_which_one_it_gets(made, tmp_path):
    bare, heard = save_base(tmp_path / "bare", tokens=tokenizer(None)), Heard()
    generate_file(request(made, tmp_path / "out.jsonl", models=(str(bare), str(made.base))), heard)
    said = [line for line in heard.said if "no chat template" in line]
    assert len(said) == 1 and said[0].startswith(f"{bare}: ") and "ChatML is used" in said[0]


def test_the_batch_size_changes_nothing(made, tmp_path):
    generate_file(request(made, tmp_path / "a.jsonl"), Heard())
    generate_file(request(made, tmp_path / "b.jsonl", batch_size=64), Heard())
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


@pytest.fixture(scope="module")
def killed(made, tmp_path_factory):
    """A folder as a kill leaves it just before the end, and the whole file."""
    folder = tmp_path_factory.mktemp("killed")
    asked = request(made, folder / "out.jsonl", models=(str(made.run), str(made.base)))

    class Copying(Heard):
        """A Ui that copies the folder when the last rows are told."""

        def __init__(self):
            super().__init__()
            self.say = self.spoke

        def spoke(self, text):
            if "5/5 rows" in text and text.startswith(str(made.base)):
                shutil.copytree(folder, folder.with_name("copy"))

    generate_file(asked, Copying())
    return SimpleNamespace(asked=asked, left=folder.with_name("copy"), whole=(folder / "out.jsonl").read_bytes())


@pytest.mark.parametrize("cut", [0, 1, 300])
def test_the_same_command_after_a_kill_at_any_byte_gives_the_same_file(killed, tmp_path, cut):
    shutil.copytree(killed.left, tmp_path / "work")
    output = tmp_path / "work" / "out.jsonl"
    part = part_file(output, 0)
    part.write_bytes(part.read_bytes()[: -cut or None])
    heard = Heard()
    generate_file(replace(killed.asked, output=output), heard)
    assert output.read_bytes() == killed.whole and not parts_folder(output).exists()
    assert any("4 rows are done; going on with row 5" in line for line in heard.said) == (cut == 1)


def test_a_finished_command_says_so_and_a_changed_one_is_refused(made, tmp_path):
    output, heard = tmp_path / "out.jsonl", Heard()
    asked = request(made, output)
    generate_file(asked, heard)
    assert generate_file(replace(asked, batch_size=1), heard)["state"] == "already-completed"
    with pytest.raises(Refused, match=r"other settings: decoding.temperature: 1.0 -> 0.5.*--restart"):
        generate_file(replace(asked, decoding=Decoding(6, 0.5, seed=3)), heard)
    with pytest.raises(Refused, match="limit: null -> 3"):
        generate_file(replace(asked, limit=3), heard)
    assert not parts_folder(output).exists()
    before = output.read_bytes()
    generate_file(replace(asked, limit=3, restart=True), heard)
    assert len(rows_of(output)) == 3 and (tmp_path / "out.jsonl.old-1").read_bytes() == before
    output.write_text("altered")
    with pytest.raises(Refused, match="removed or altered"):
        generate_file(replace(asked, limit=3), heard)


def test_rows_that_are_read_in_another_format_are_other_prompts(made, tmp_path):
    write_jsonl(tmp_path / "both.jsonl", [{"prompt": "Hello?", "instruction": "Sum up."}])
    asked = replace(request(made, tmp_path / "out.jsonl"), data=str(tmp_path / "both.jsonl"), format="prompt")
    generate_file(asked, Heard())
    with pytest.raises(Refused, match='formats: ."prompt". -> ."alpaca"'):
        generate_file(replace(asked, format="alpaca"), Heard())


def test_anothers_file_is_never_written_over(made, tmp_path):
    (tmp_path / "out.jsonl").write_text("mine")
    with pytest.raises(Refused, match="is not this command's"):
        generate_file(request(made, tmp_path / "out.jsonl"), Heard())
    assert (tmp_path / "out.jsonl").read_text() == "mine"


def test_a_row_without_room_is_named_before_any_is_answered(made, tmp_path):
    write_jsonl(tmp_path / "long.jsonl", [{"prompt": "short"}, {"prompt": "x" * 600}])
    asked = replace(request(made, tmp_path / "out.jsonl"), data=str(tmp_path / "long.jsonl"))
    with pytest.raises(Refused, match=r"long.jsonl:2: the prompt has .* context is 512"):
        generate_file(asked, Heard())
    assert [file.name for file in tmp_path.iterdir()] == ["long.jsonl"]  # nothing was begun, so nothing is in the way


def test_a_reward_run_is_refused_before_it_is_loaded(made, tmp_path):
    scorer = reward_run(tmp_path / "reward", made.base)
    with pytest.raises(Refused, match="scores answers and gives none"):
        generate_file(request(made, tmp_path / "out.jsonl", models=(str(scorer),)), Heard())


def test_bad_rows_stop_unless_a_share_may_be_left_out(made, tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"prompt": "hi"}\n{"prompt": ""}\n')
    asked = replace(request(made, tmp_path / "out.jsonl"), data=str(tmp_path / "bad.jsonl"))
    with pytest.raises(Refused, match="bad.jsonl:2"):
        generate_file(asked, Heard())
    heard = Heard()
    generate_file(replace(asked, max_rejected=0.5), heard)
    assert len(rows_of(tmp_path / "out.jsonl")) == 1 and "1 bad rows" in heard.warned[0]


def test_several_greedy_samples_and_clashing_columns_are_refused(made, tmp_path):
    with pytest.raises(Refused, match="would be the same answer"):
        request(made, tmp_path / "out.jsonl", decoding=Decoding())
    write_jsonl(tmp_path / "clash.jsonl", [{"prompt": "hi", "sources": ["x"]}])
    with pytest.raises(Refused, match="column 'sources'"):
        generate_file(replace(request(made, tmp_path / "out.jsonl"), data=str(tmp_path / "clash.jsonl")), Heard())


def test_an_adapter_of_a_quantised_base_that_answers_on_the_whole_one_is_said(made, tmp_path):
    shutil.copytree(made.run, tmp_path / "sft")
    run = Run.open(tmp_path / "sft")
    run.manifest["base"]["path"] = str(made.base)
    run.write(config={"model": {"quantisation": "4bit"}})
    heard = Heard()
    generate_file(request(made, tmp_path / "out.jsonl", models=(str(tmp_path / "sft"),)), heard)
    assert any("--quantisation 4bit asks it as it was" in line for line in heard.warned)
    generate_file(request(made, tmp_path / "other.jsonl"), silent := Heard())
    assert not any("quantisation" in line for line in silent.warned)


def test_a_dry_run_writes_nothing(made, tmp_path):
    assert generate_file(request(made, tmp_path / "out.jsonl"), Heard(), dry_run=True)["state"] == "dry-run"
    assert not list(tmp_path.iterdir())


def test_the_system_prompt_changes_the_answers_and_is_recorded(made, tmp_path):
    generate_file(request(made, tmp_path / "a.jsonl"), Heard())
    generate_file(request(made, tmp_path / "b.jsonl", system="Be brief."), Heard())
    assert (tmp_path / "a.jsonl").read_bytes() != (tmp_path / "b.jsonl").read_bytes()
    assert json.loads(meta_file(tmp_path / "b.jsonl").read_text())["request"]["system"] == "Be brief."


def test_a_partial_last_line_is_cut(tmp_path):
    part = tmp_path / "part"
    assert keep_whole_lines(part) == 0
    part.write_bytes(b'{"a": 1}\n{"b": 2}\n{"c"')
    assert keep_whole_lines(part) == 2 and part.read_bytes() == b'{"a": 1}\n{"b": 2}\n'


def test_the_command_prints_one_json_document(made, tmp_path, capsys):
    arguments = [
        "generate",
        str(made.run),
        "--data",
        str(made.data),
        "--output",
        str(tmp_path / "out.jsonl"),
        "--limit",
        "2",
        "--max-new-tokens",
        "4",
        "--json",
    ]
    assert run(arguments) == 0
    document = json.loads(capsys.readouterr().out)
    assert (
        document["state"] == "completed"
        and document["decoding"]["temperature"] == 0
        and len(rows_of(tmp_path / "out.jsonl")) == 2
    )
