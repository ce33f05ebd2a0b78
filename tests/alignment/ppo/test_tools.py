"""Tools that the policy calls while it answers: what they give is nobody's choice, so nothing is learnt from it."""

import json

import pytest
import torch

from alignment.ppo import tools as toolbox
from data_recipes.errors import Interrupted, Refused
from data_recipes.files import write_jsonl
from data_recipes.records import Message
from data_recipes.render import Renderer, prepare_tokenizer
from reward.learned import RewardModel
from tests import tiny
from tests.alignment.chains import StoppingUi, metrics, run_stage, weights
from tests.alignment.ppo import rules_of_tests, tools_of_tests
from tests.alignment.ppo.tools_of_tests import READS, TEMPLATE, call, speak

RULES, TOOLS = "tests.alignment.ppo.rules_of_tests:", "tests.alignment.ppo.tools_of_tests:"
ROOMY = {"data__max_length": 1800, "ppo__max_new_tokens": 160, "hardware__micro_batch": 4}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tools")
    write_jsonl(folder / "prompts.jsonl", [{"prompt": f"double {i}"} for i in range(12)])
    return {"base": tools_of_tests.save_base(folder / "base"), "ppo": folder / "prompts.jsonl"}


def train(files, output, *, ui=None, tools=("double",), **settings):
    settings = {"reward": RULES + "many_z", "ppo__normalise": "none", "training__max_steps": 5, **ROOMY, **settings}
    return run_stage("ppo", files, files["base"], output, ui=ui, ppo__tools=[TOOLS + name for name in tools], **settings)


@pytest.fixture
def trainer(files, made):
    return made(model=files["base"], reward=RULES + "many_z", ppo__tools=[TOOLS + "double"], **ROOMY)


# --------------------------------------------------------------------------------------------------------------- rollouts


def test_results_are_no_actions_and_the_row_reads_as_the_template_writes_it(trainer, monkeypatch):
    speak(monkeypatch, call("double", n=21))
    row = trainer.sample([0], seed=[1])[0]
    assert [turn["role"] for turn in row.said] == ["assistant", "tool", "assistant"]
    assert row.said[1]["content"] == "42" and row.stopped
    chosen = [token for token, action in zip(row.completion_ids, row.actions, strict=True) if action]
    assert trainer.renderer.tokenizer.decode(chosen) == call("double", n=21) + "<|im_end|>it is done<|im_end|>"
    given = [token for token, action in zip(row.completion_ids, row.actions, strict=True) if not action]
    assert trainer.renderer.tokenizer.decode(given) == "\n<|im_start|>tool\ndouble: 42<|im_end|>\n<|im_start|>assistant\n"
    asked = trainer.prompts[0].messages
    assert row.ids == trainer.renderer.conversation(asked + row.said)


def test_no_reward_no_kl_no_value_stands_on_a_result(trainer, monkeypatch):
    """All that is known of a rollout is known of its actions alone, and no result has a label."""
    speak(monkeypatch, call("double", n=21))
    trainer.kl_coefficient = 0.5
    rollout = trainer.collect(0)
    actions = sum(rollout.rows[0].actions)
    assert rollout.keep.shape == (8, actions) and rollout.keep.all() and len(rollout.rows[0].completion_ids) > actions
    assert all(rollout.figures[name].shape == (8, actions) for name in ("logps", "ref_logps", "values", "advantages"))
    labels_T = batch_of(trainer, rollout.rows[:2]).labels_BT[0]
    labelled = labels_T[labels_T != -100].tolist()
    assert labelled == [t for t, a in zip(rollout.rows[0].completion_ids, rollout.rows[0].actions, strict=True) if a]


def test_the_gradient_does_not_know_the_tokens_of_a_result_as_choices(trainer, monkeypatch):
    """The log-probabilities of actions by a plain forward pass, position by position, are those that are trained."""
    speak(monkeypatch, call("double", n=21))
    row = trainer.sample([0], seed=[1])[0]
    batch = batch_of(trainer, [row])
    with torch.no_grad():
        ours, _ = trainer._logps(trainer.roles.policy, batch)
        logits = trainer.roles.policy(input_ids=torch.tensor([row.ids])).logits[0].log_softmax(-1)
    plain = [logits[place - 1, row.ids[place]] for place in row.places]
    torch.testing.assert_close(ours[0], torch.stack(plain), atol=1e-5, rtol=1e-5)


def batch_of(trainer, rows):
    from alignment.ppo.rollout import micro_batch

    return micro_batch(rows, list(range(len(rows))), trainer.renderer.pad_id, "cpu")


def test_a_tool_that_raises_is_told_to_the_policy_and_counted(files, tmp_path, monkeypatch):
    speak(monkeypatch, call("broken", n=1))
    train(files, tmp_path / "run", tools=["broken"], training__max_steps=2)
    counted = [row for row in metrics(tmp_path / "run") if "tools/failure_frequency" in row][0]
    assert counted["tools/call_frequency"] == 1.0 and counted["tools/failure_frequency"] == 1.0
    shown = [json.loads(line) for line in (tmp_path / "run/private/completions.jsonl").read_text().splitlines()]
    assert shown[0]["turns"][1]["content"] == "{'error': \"'out of order'\"}"


def test_a_list_that_a_tool_gives_is_text(files, made, monkeypatch):
    trainer = made(model=files["base"], reward=RULES + "many_z", ppo__tools=[TOOLS + "halve"], **ROOMY)
    speak(monkeypatch, call("halve", n=8))
    assert trainer.sample([0], seed=[1])[0].said[1]["content"] == "[4]"


def test_a_result_without_room_is_left_out_and_the_answer_has_not_stopped_there(files, made, monkeypatch):
    trainer = made(model=files["base"], reward=RULES + "many_z", ppo__tools=[TOOLS + "double"],
                   **{**ROOMY, "ppo__max_new_tokens": 80})
    speak(monkeypatch, call("double", n=21))
    row = trainer.sample([0], seed=[1])[0]
    assert all(row.actions) and [turn["role"] for turn in row.said] == ["assistant"]


def test_calls_end_where_they_are_told_to(files, made, monkeypatch):
    trainer = made(model=files["base"], reward=RULES + "many_z", ppo__tools=[TOOLS + "double"],
                   **{**ROOMY, "ppo__max_new_tokens": 600, "trainer.max_tool_calling_iterations": 2})
    speak(monkeypatch, call("double", n=21), then=call("double", n=1))
    row = trainer.sample([0], seed=[1])[0]
    assert [turn["role"] for turn in row.said] == ["assistant", "tool", "assistant", "tool", "assistant"]


# --------------------------------------------------------------------------------------------------------- a run, resumed


def test_stopped_within_a_rollout_with_tools_and_continued_equals_never_stopped(files, tmp_path, monkeypatch):
    speak(monkeypatch, call("double", n=21))
    settings = {"training__max_steps": 7, "ppo__kl_coefficient": 0.1}  # rollouts of four steps
    straight = train(files, tmp_path / "straight", **settings)
    for step in (1, 4):
        with pytest.raises(Interrupted):
            train(files, tmp_path / "stopped", ui=StoppingUi(at=step), **settings)
    stopped = train(files, tmp_path / "stopped", **settings)
    assert metrics(tmp_path / "stopped") == metrics(tmp_path / "straight")
    assert weights(tmp_path / "stopped") == weights(tmp_path / "straight") and stopped["counts"] == straight["counts"]
    lines = [(tmp_path / name / "private" / "completions.jsonl").read_text() for name in ("stopped", "straight")]
    assert lines[0] == lines[1]
    seen = json.loads(lines[0].splitlines()[0])
    assert seen["turns"][0]["tool_calls"][0]["function"] == {"name": "double", "arguments": {"n": 21}}
    assert seen["answer"].strip() == "it is done"
    rows = metrics(tmp_path / "straight")
    assert [row["eval_tool_calls"] for row in rows if "eval_tool_calls" in row] == [1.0, 1.0, 1.0]
    assert [row["policy/ratio"] for row in rows if "policy/ratio" in row][0] == 1.0


def test_rules_are_given_calls_and_results(files, tmp_path, monkeypatch):
    speak(monkeypatch, call("double", n=21))
    rules_of_tests.CALLS.clear()
    train(files, tmp_path / "run", reward=RULES + "by_turns", training__max_steps=2)
    assert rules_of_tests.CALLS and all(roles == ["assistant", "tool", "assistant"] for roles in rules_of_tests.CALLS)


def test_the_run_shows_its_tools_as_training_did(files, tmp_path, monkeypatch):
    from transformers import AutoTokenizer

    speak(monkeypatch, call("double", n=21))
    train(files, tmp_path / "run", training__max_steps=1)
    made = json.loads((tmp_path / "run" / "align.json").read_text())
    assert made["template"]["options"]["tools"][0]["function"]["name"] == "double"
    plain = AutoTokenizer.from_pretrained(tmp_path / "run")
    asked = [{"role": "user", "content": "double 3"}]
    assert "double" in plain.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)[: -len("double 3") - 40]


def test_another_tool_is_another_command(files, tmp_path, monkeypatch):
    speak(monkeypatch, call("double", n=21))
    train(files, tmp_path / "run", training__max_steps=1)
    with pytest.raises(Refused, match="tools"):
        train(files, tmp_path / "run", training__max_steps=1, tools=["halve"])


# --------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("tools", "said"),
    [
        (["nothing"], "has no function 'nothing'"),
        (["untyped"], "cannot be told what 'untyped' does"),
        (["double", "double"], "two tools are called 'double'"),
        (["double(n=1)"], "names no tool"),
    ],
)
def test_what_is_no_tool_is_refused(files, tmp_path, tools, said):
    with pytest.raises(Refused) as error:
        train(files, tmp_path / "run", tools=tools)
    assert said in error.value.paragraph()


@pytest.mark.parametrize(
    ("template", "reads", "said"),
    [
        (tiny.CHATML, READS, "no form for tool calls"),
        (TEMPLATE, None, "nothing says how this model's tool calls are to be read"),
        (TEMPLATE.replace("{{ m.content }}{% for", "{% if loop.last %}now {% endif %}{{ m.content }}{% for"), READS,
         "writes a call otherwise once its result follows"),
        (TEMPLATE.replace("tools | tojson", "'some'"), READS, "does not show tools"),
    ],
)
def test_a_template_that_cannot_carry_tools_is_refused(files, tmp_path, template, reads, said):
    base = tools_of_tests.save_base(tmp_path / "base", reads=reads, template=template)
    with pytest.raises(Refused) as error:
        train({**files, "base": base}, tmp_path / "run")
    assert said in error.value.paragraph()


def test_a_row_that_shows_a_tool_which_nothing_runs_is_refused(files, tmp_path):
    rows = tmp_path / "prompts.jsonl"
    stranger = {"type": "function", "function": {"name": "stranger", "parameters": {}}}
    write_jsonl(rows, [{"prompt": [{"role": "user", "content": f"{i}"}], "tools": [stranger]} for i in range(9)])
    with pytest.raises(Refused, match="unknown-tool"):
        train({**files, "ppo": rows}, tmp_path / "run")


def test_a_bound_on_calls_without_tools_is_refused(files, tmp_path):
    with pytest.raises(Refused, match="no tools to call"):
        train(files, tmp_path / "run", tools=[], **{"trainer.max_tool_calling_iterations": 2})


# ----------------------------------------------------------------------------------------------------- templates, rewards


@pytest.mark.parametrize("name", ["qwen2_5", "qwen3", "qwen3_5_nothink", "llama3_1", "llama3_2", "lfm2_2_5", "glm4moe",
                                  "gemma4"])
def test_the_templates_that_trl_reads_are_read_as_the_renderer_writes_them(name):
    """The engine's rendering of a result is the renderer's, token by token."""
    from types import SimpleNamespace

    from alignment.ppo.engine import GRPOTrainer
    from tests.data_recipes.test_render_trl_templates import source
    from tests.tiny_tokenizers import byte_level

    tokenizer = byte_level(source(name))
    tokenizer.eos_token = next((t for t in ("<|im_end|>", "<|eot_id|>") if t in tokenizer.get_vocab()), "<eos>")
    prepare_tokenizer(tokenizer)
    renderer = Renderer(tokenizer)
    reader = toolbox.reading(tokenizer)
    engine = SimpleNamespace(processing_class=reader, _tokenizer=reader, chat_template=None, _is_vlm=False,
                             chat_template_kwargs=renderer.switches)
    engine._get_tool_suffix_ids = lambda messages: GRPOTrainer._get_tool_suffix_ids(engine, messages)
    toolbox.check_turns(engine, renderer, "double")


def test_a_reward_model_beside_reads_the_whole_conversation():
    tokenizer = tiny.tokenizer(TEMPLATE)
    prepare_tokenizer(tokenizer)
    renderer = Renderer(tokenizer)
    model = RewardModel(None, renderer)
    asked = [{"role": "user", "content": "double 3"}]
    calls = [{"type": "function", "function": {"name": "double", "arguments": {"n": 3}}}]
    said = [{"role": "assistant", "content": "", "tool_calls": calls}, {"role": "tool", "name": "double", "content": "6"}]
    whole = [*said, {"role": "assistant", "content": "6"}]
    assert model.row(asked, whole) == renderer.conversation(asked + whole)
    assert model.row(asked, whole, stopped=False) == renderer.conversation(asked + whole)[:-1]
    assert model.row(asked, said, stopped=False) == renderer.prompt(asked + said)  # the room ended behind the result
    silent = [*said, {"role": "assistant", "content": " "}]
    assert model.row(asked, silent) == renderer.prompt(asked + said) + renderer.stop_ids[:1]
    assert model.row(asked, "6") == renderer.conversation([*asked, {"role": "assistant", "content": "6"}])
    assert Message("user", "double 3").content in tokenizer.decode(model.row(asked, "6"))
