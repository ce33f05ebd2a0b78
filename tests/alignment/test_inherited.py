"""What a child takes from its parent without being told, and that the settings it leaves behind say so."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import yaml

from alignment import dpo, sft
from alignment.config import load
from alignment.data import Rendered
from alignment.models import load_tokenizer
from alignment.rendering import beyond_context, check_template, renderer_options, within_context
from alignment.session import as_it_ran
from alignment.sources import resolve
from data_recipes.errors import Refused
from data_recipes.files import write_jsonl
from tests import tiny
from tests.alignment.chains import StoppingUi, run_stage, weights, world
from tests.alignment.runs.test_runs import make_run


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """A parent of rank 2 and a system prompt."""
    folder = tmp_path_factory.mktemp("inherited")
    files = world(folder, rows=8)
    run_stage("sft", files, files["base"], folder / "sft", adapter__rank=2, adapter__alpha=4, adapter__dropout=0.1,
              data__system="Be kind.", training__max_steps=1)
    return folder, files


SHORT = {"training.max_steps": 1, "training.batch_size": 4, "data.validation_share": 0.0, "hardware.threads": 1}


@pytest.mark.parametrize("stage", [sft, dpo])
def test_a_childs_settings_make_the_same_child_again(chain, tmp_path, stage):
    """They name what came from the parent: as --config, defaults in its place would overrule it."""
    folder, files = chain
    data = files[stage.__name__]
    stage(model=folder / "sft", data=data, output=tmp_path / "child", settings=SHORT)
    stage(config=tmp_path / "child" / "config.yaml", output=tmp_path / "again")
    assert weights(tmp_path / "again") == weights(tmp_path / "child")
    left = yaml.safe_load((tmp_path / "child" / "config.yaml").read_text())
    assert left["data"]["system"] == "Be kind." and left["adapter"]["rank"] == 2 and left["adapter"]["alpha"] == 4
    assert left["adapter"]["dropout"] == (0.1 if stage is sft else 0.0)
    assert load(stage.__name__, tmp_path / "again" / "config.yaml").resolved() == left


def test_rows_are_cut_at_the_last_learned_position(tmp_path):
    files = world(tmp_path, rows=4, model=tiny.gpt2())
    row = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello. " * 60}]}
    write_jsonl(files["sft"], [row] * 4)
    ui = StoppingUi()
    made = run_stage("sft", files, files["base"], tmp_path / "run", data__max_length=400, training__max_steps=1, ui=ui)
    assert made["counts"]["train_truncated"] == 4 and made["counts"]["train_tokens"] == 4 * 256
    assert any("data.max_length 400: the model has 256 positions" in warning for warning in ui.warnings)


def test_virtual_tokens_take_positions_too(tmp_path):
    files = world(tmp_path, rows=4, model=tiny.gpt2())
    row = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello. " * 60}]}
    write_jsonl(files["sft"], [row] * 4)
    settings = {**SHORT, "data.max_length": 256, "adapter.kind": "prompt", "adapter.virtual_tokens": 6}
    made = sft(model=files["base"], data=files["sft"], output=tmp_path / "run", settings=settings, ui=StoppingUi())
    assert made["counts"]["train_tokens"] == 4 * 250


def test_a_child_can_do_without_its_parents_tools(tmp_path):
    tools = [{"type": "function", "function": {"name": "weather"}}]
    run = make_run(tmp_path / "sft")
    run.write(template={"options": {"tools": tools, "system": "Be kind."}})
    for sets, kept in (([], tools), (["data.tools=null"], None)):
        options = renderer_options(resolve(run.path), load("sft", sets=sets))
        assert options["tools"] == kept and options["system"] == "Be kind."
    session = SimpleNamespace(config=load("sft"), renderer=SimpleNamespace(options={"tools": tools}), parent_adapter=None)
    assert "tools" not in as_it_ran(session)["data"]  # null would leave them out


def test_rotary_positions_have_no_end():
    said: list[str] = []
    options = {"max_length": 600, "system": None}
    for model in (tiny.llama(), tiny.t5()):
        assert within_context(options, model.config, said.append) == options
    assert not said  # what may be long is not yet long


def test_rows_beyond_the_positions_of_training_are_said_by_the_rows_that_there_are():
    short, long = (Rendered({"length": lengths}, [], None, {}) for lengths in ([9, 512], [9, 513, 700]))
    base = tiny.llama().config
    assert beyond_context(base, [short, Rendered({}, [], None, {})]) == ""
    said = beyond_context(base, [short, long])
    assert "the 512 positions" in said and "2 of 5, the longest of 700 tokens" in said
    assert "the 504 positions" in (less := beyond_context(base, [short], taken=8)) and "1 of 2" in less
    assert beyond_context(tiny.t5().config, [long]) == beyond_context(tiny.gpt2().config, [short]) == ""


def test_a_generous_max_length_is_no_warning_where_no_row_is_long(tmp_path):
    files = world(tmp_path, rows=4)
    warned = {}
    for words in (1, 100):
        row = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello. " * words}]}
        write_jsonl(files["sft"], [row] * 4)
        ui = StoppingUi()
        run_stage("sft", files, files["base"], tmp_path / f"{words}", data__max_length=2048, training__max_steps=1, ui=ui,
                  data__validation_share=0.0)
        warned[words] = [line for line in getattr(ui, "warnings", []) if "positions" in line]
    assert warned[1] == [] and len(warned[100]) == 1 and "512 positions that the model was made for: 4 of 4" in warned[100][0]


def test_another_template_or_other_special_tokens_than_the_parents_are_refused(chain):
    """They cannot change without the parent's hash, but a library's newer version may make others of the same files."""
    source = resolve(chain[0] / "sft")
    _, preparation = load_tokenizer(source)
    check_template(source, preparation, adding=False)
    with pytest.raises(Refused, match="the chat template is not the one"):
        check_template(source, replace(preparation, template_fingerprint="0" * 64), adding=False)
    other = replace(preparation, special_tokens={**preparation.special_tokens, "pad": "<s>"})
    with pytest.raises(Refused, match="special tokens are not those of the parent: pad"):
        check_template(source, other, adding=False)
