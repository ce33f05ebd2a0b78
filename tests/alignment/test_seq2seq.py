"""Encoder-decoder models in `align sft` and everything that reads such a run."""

import itertools
import json
import random

import pytest
import torch
from peft import AutoPeftModelForSeq2SeqLM
from torch.nn import functional as F
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, T5Config, T5ForConditionalGeneration, Trainer

from alignment import dpo, ppo_policy, reward_model
from alignment.adapters import weights as adapter_weights
from alignment.adapters import AdapterChoice
from alignment.evaluate.evaluation import Question, evaluate
from alignment.generation.batched import generate, stream
from alignment.generation.decoding import Decoding
from alignment.hardware.memory import ModelShape, estimate
from alignment.merge import MergeRequest, merge
from alignment.models import Loaded, load_policy, outputs
from alignment.sources import Source
from alignment.tasks import SEQ2SEQ
from alignment.training.seq2seq import TargetTrainer
from alignment.training.targets import TargetCollator, target_loss
from data_recipes.errors import Interrupted, Refused
from data_recipes.files import write_jsonl
from data_recipes.seq2seq import prepare
from tests import tiny
from tests.alignment.chains import StoppingUi, metrics, run_stage, weights

ROWS = [[60, 70, 80, 90, 1], [61, 1], [62, 72, 82, 92, 101, 102, 103, 1]]
LONGER = {"training__epochs": 4, "data__validation_share": 0.2, "training__learning_rate": 1e-2}
TURNS = [
    {"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Here."},
    {"role": "user", "content": "When?"}, {"role": "assistant", "content": "Now."},
]  # fmt: skip


class Hearing(StoppingUi):
    """Keeps what is said."""

    def say(self, text):
        self.said = [*getattr(self, "said", []), text]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seq2seq")
    tiny.save_base(folder / "base", model=tiny.t5(), tokens=tiny.t5_tokenizer())
    write_jsonl(folder / "demos.jsonl", tiny.demonstrations(26))
    write_jsonl(folder / "pairs.jsonl", tiny.comparisons(8))
    return {"base": folder / "base", "sft": folder / "demos.jsonl", "pairs": folder / "pairs.jsonl"}


@pytest.fixture(scope="module")
def run(files):
    output = files["base"].parent / "runs" / "sft"
    run_stage("sft", files, files["base"], output, **LONGER)
    return output


# ------------------------------------------------------------------------------------------------------------ training


def test_the_model_s_config_chooses_the_trainer_and_the_run_is_a_plain_peft_folder(files, run):
    manifest = json.loads((run / "align.json").read_text())
    assert manifest["task"]["name"] == "seq2seq" and manifest["counts"]["train_trained"] > 0
    losses = [row["eval_loss"] for row in metrics(run) if "eval_loss" in row]
    assert losses[-1] < losses[0] - 0.3
    assert manifest["metrics"]["read_back_distance"] <= 1e-5
    card = (run / "README.md").read_text()
    assert "AutoPeftModelForSeq2SeqLM" in card and "text2text-generation" in card
    plain = AutoPeftModelForSeq2SeqLM.from_pretrained(run)
    assert torch.equal(outputs(plain, ROWS), outputs(load_policy(run).model, ROWS))
    tokenizer = AutoTokenizer.from_pretrained(run)
    messages = [{"role": "user", "content": "Where?"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    assert tokenizer(text)["input_ids"] == load_policy(run).renderer().prompt(messages)


@pytest.mark.parametrize(
    ("kind", "stops", "grouped"), [("lora", [1, 4, 6], True), ("full", [3], False)]
)
def test_stopped_and_continued_equals_never_stopped(files, tmp_path, kind, stops, grouped):
    write_jsonl(tmp_path / "rows.jsonl", tiny.demonstrations(14))  # 4 steps an epoch, the last one smaller
    rows, settings = {"sft": tmp_path / "rows.jsonl"}, {"adapter__kind": kind, "training__group_by_length": grouped}
    straight = run_stage("sft", rows, files["base"], tmp_path / "straight", **settings)
    for step in stops:
        with pytest.raises(Interrupted):
            run_stage("sft", rows, files["base"], tmp_path / "stopped", ui=StoppingUi(at=step), **settings)
    stopped = run_stage("sft", rows, files["base"], tmp_path / "stopped", **settings)
    assert metrics(tmp_path / "stopped") == metrics(tmp_path / "straight")
    assert weights(tmp_path / "stopped") == weights(tmp_path / "straight")
    assert stopped["counts"] == straight["counts"] and stopped["content_hash"] == straight["content_hash"]


def test_every_trained_token_weighs_the_same_in_whatever_micro_batch(tmp_path):
    base = tiny.save_base(tmp_path / "base", model=tiny.t5(dropout=0.0), tokens=tiny.t5_tokenizer())
    write_jsonl(tmp_path / "rows.jsonl", tiny.demonstrations(8))
    seen = []
    for micro in (1, 4):
        run_stage(
            "sft", {"sft": tmp_path / "rows.jsonl"}, base, tmp_path / str(micro), hardware__micro_batch=micro,
            training__max_steps=1, adapter__dropout=0.0,
        )  # fmt: skip
        seen.append(metrics(tmp_path / str(micro))[0])
    assert seen[0]["loss"] == pytest.approx(seen[1]["loss"], rel=1e-5)
    assert seen[0]["grad_norm"] == pytest.approx(seen[1]["grad_norm"], rel=1e-4)
    assert seen[0]["num_tokens"] == seen[1]["num_tokens"]


def test_each_turn_is_a_row_long_ones_are_cut_and_said_and_a_prefix_is_kept(files, tmp_path):
    write_jsonl(tmp_path / "turns.jsonl", [{"messages": TURNS}] * 4)
    ui = Hearing()
    summary = run_stage(
        "sft", {"sft": tmp_path / "turns.jsonl"}, files["base"], tmp_path / "run", ui=ui, training__max_steps=1,
        data__max_length=20, data__max_target_length=5, data__prefix="answer: ",
    )  # fmt: skip
    assert summary["counts"]["train_rows"] == 8 and summary["data"]["train"]["kept"] == 4
    assert any("4 answers are longer than data.max_target_length" in text for text in ui.warnings)  # "Here." and its end
    assert any("4 inputs are longer than data.max_length" in text for text in ui.warnings)
    renderer = load_policy(tmp_path / "run").renderer()
    assert renderer.tokenizer.decode(renderer.prompt(TURNS[:1])) == "answer: Where?</s>"


def test_a_run_is_a_parent_and_another_prefix_may_be_said(files, run, tmp_path):
    child = run_stage("sft", files, run, tmp_path / "child", training__max_steps=2, data__prefix="say: ")
    manifest = json.loads((tmp_path / "child" / "align.json").read_text())
    assert child["state"] == "completed" and len(manifest["adapter_lineage"]) == 1
    assert manifest["template"]["options"]["prefix"] == "say: "


def test_a_bart_shape_with_learned_positions_trains_and_answers(files, tmp_path):
    base = tiny.save_base(tmp_path / "base", model=tiny.bart(), tokens=tiny.t5_tokenizer())
    run_stage("sft", files, base, tmp_path / "run", training__max_steps=2)
    loaded = load_policy(tmp_path / "run")
    assert len(generate(loaded, [[60] * 128], max_new_tokens=200)[0].ids) <= 127
    with pytest.raises(Refused, match="leaves no room"):
        generate(loaded, [[60] * 129])


def test_checkpointing_trains_the_adapter_too(files, tmp_path):
    for on in ("on", "off"):
        settings = {"hardware__checkpointing": on, "training__max_steps": 1, "adapter__dropout": 0.0}
        run_stage("sft", files, files["base"], tmp_path / on, **settings)
    first = [metrics(tmp_path / on)[0] for on in ("on", "off")]
    assert first[0]["grad_norm"] == pytest.approx(first[1]["grad_norm"], rel=1e-3) and first[0]["grad_norm"] > 0


# ------------------------------------------------------------------------------------------------------- loss, batches


def test_the_loss_by_hand_and_the_model_s_own_where_there_is_one_batch():
    logits = torch.tensor([[[2.0, 0.0], [0.0, 1.0], [5.0, 5.0]]])
    labels = torch.tensor([[0, 1, -100]])
    out = type("Out", (), {"logits": logits})
    by_hand = (torch.log1p(torch.exp(torch.tensor(-2.0))) + torch.log1p(torch.exp(torch.tensor(-1.0)))).item()
    assert target_loss(out, labels).item() == pytest.approx(by_hand / 2)
    assert target_loss(out, labels, 8).item() == pytest.approx(by_hand / 8)
    smooth = F.cross_entropy(logits[0, :2], labels[0, :2], label_smoothing=0.1).item()
    assert target_loss(out, labels, smoothing=0.1).item() == pytest.approx(smooth)
    model = tiny.t5(dropout=0.0)
    batch = TargetCollator(model, 0)([{"input_ids": [60, 61, 1], "labels": [70, 1]}, {"input_ids": [62, 1], "labels": [1]}])
    assert target_loss(model(**batch), batch["labels"]).item() == pytest.approx(model(**batch).loss.item(), rel=1e-6)


def test_a_batch_is_padded_on_the_right_and_the_decoder_reads_the_answer_shifted():
    batch = TargetCollator(tiny.t5(), 0)([{"input_ids": [60, 61, 1], "labels": [70, 1]}, {"input_ids": [1], "labels": [1]}])
    assert batch["input_ids"].tolist() == [[60, 61, 1], [1, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[70, 1], [1, -100]]
    assert batch["decoder_input_ids"].tolist() == [[0, 70], [0, 1]]


def test_transformers_still_has_what_the_trainer_leans_on():
    import inspect

    assert "compute_loss_func" in inspect.signature(Trainer.__init__).parameters
    assert list(inspect.signature(Trainer.compute_loss).parameters)[1:] == [
        "model", "inputs", "return_outputs", "num_items_in_batch"
    ]  # fmt: skip
    assert list(inspect.signature(Trainer.log).parameters)[1:] == ["logs", "start_time"]
    assert issubclass(TargetTrainer, Trainer) and callable(T5ForConditionalGeneration.prepare_decoder_input_ids_from_labels)


def test_the_plan_counts_whole_logits_of_the_answers():
    shape = ModelShape(1000, 1000, 2, 32, 30000, whole_logits=10)
    found = estimate(shape, rows=4, length=100, precision="float32", weights="float32", checkpointing=False)
    assert found["logits"] == 3 * 4 * 4 * 10 * 30000


# ---------------------------------------------------------------------------------------------------------- generation


def odd_t5():
    """Heads whose widths do not add up to the model's, and more decoder than encoder layers, as in Flan-T5 small."""
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=261, d_model=32, d_kv=8, num_heads=6, d_ff=64, num_layers=1, num_decoder_layers=2, pad_token_id=0,
        eos_token_id=1, decoder_start_token_id=0, feed_forward_proj="gated-gelu", tie_word_embeddings=False,
    )  # fmt: skip
    return T5ForConditionalGeneration(config).float()


def adapted(kind, make):
    """A model with an adapter that says something: every trained weight is drawn."""
    tokenizer = tiny.t5_tokenizer()
    preparation = prepare(tokenizer)
    model = adapter_weights.new_adapter(make(), AdapterChoice(kind=kind, rank=4, virtual_tokens=3), task=SEQ2SEQ, seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.5)
    nowhere = Source("memory", "folder")
    return Loaded(model.eval(), tokenizer, nowhere, nowhere, preparation, {}, SEQ2SEQ)


@pytest.mark.parametrize("make", [tiny.t5, odd_t5, tiny.bart])
@pytest.mark.parametrize("kind", ["lora", "ia3", "prefix", "prompt"])
def test_answers_are_what_training_would_predict_whatever_the_batch(kind, make):
    loaded = adapted(kind, make)
    prompts = [[60, 61, 62, 63, 1], [70, 1], [80, 81, 1]]
    made = generate(loaded, prompts, max_new_tokens=6, batch_size=3)
    for prompt, done in zip(prompts, made, strict=True):
        assert generate(loaded, [prompt], max_new_tokens=6)[0].ids == done.ids
        labels = torch.tensor([[*done.ids, 1]])
        batch = TargetCollator(loaded.model, 0)([{"input_ids": prompt, "labels": labels[0].tolist()}])
        batch.pop("labels")
        with torch.no_grad():
            logits = loaded.model(**batch).logits[0, -labels.shape[1] :]
        assert logits.argmax(-1).tolist()[: len(done.ids)] == done.ids


def test_a_stream_gives_the_same_answer_and_sampling_is_the_row_s_own():
    loaded = adapted("lora", tiny.t5)
    pieces = []
    done = stream(loaded, [60, 61, 1], Decoding(8), on_text=pieces.append)
    assert done.ids == generate(loaded, [[60, 61, 1]], max_new_tokens=8)[0].ids
    drawn = generate(loaded, [[60, 1], [61, 62, 1]], max_new_tokens=5, temperature=1.0, seed=[1, 2], batch_size=2)
    assert drawn[1].ids == generate(loaded, [[61, 62, 1]], max_new_tokens=5, temperature=1.0, seed=[2])[0].ids


def test_a_merged_folder_answers_as_the_run(run, tmp_path):
    merge(MergeRequest(str(run), tmp_path / "merged"), StoppingUi())
    plain = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "merged")
    assert torch.allclose(outputs(plain, ROWS), outputs(load_policy(run).model, ROWS), atol=1e-4)
    renderer = load_policy(tmp_path / "merged").renderer()
    assert renderer.prompt(TURNS[:1]) == load_policy(run).renderer().prompt(TURNS[:1])


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("stage", [dpo, reward_model, ppo_policy])
def test_preferences_and_rewards_refuse_an_encoder_decoder_before_loading(files, run, tmp_path, stage):
    more = {"reward": "reward.rules:length_band(low=2, high=5)"} if stage is ppo_policy else {}
    for model in (files["base"], run):
        with pytest.raises(Refused, match="encoder-decoder model") as refusal:
            stage(model=model, data=files["pairs"], output=tmp_path / "never", **more)
        assert "align sft tunes this model" in refusal.value.do
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"data__thinking": "off"}, "without reasoning"),
        ({"trainer": {"packing": True}}, "decoder-only"),
        ({"adapter__kind": "head", "adapter__rank": 16}, "no head"),
    ],
)
def test_keys_that_no_encoder_decoder_would_honour_are_refused(files, tmp_path, settings, said):
    with pytest.raises(Refused, match=said):
        run_stage("sft", files, files["base"], tmp_path / "never", **settings)


def test_a_decoder_refuses_the_keys_of_an_encoder(files, tmp_path):
    base = tiny.save_base(tmp_path / "base")
    for settings in ({"data__prefix": "a: "}, {"data__max_target_length": 8}):
        with pytest.raises(Refused, match="does not fit this model"):
            run_stage("sft", files, base, tmp_path / "never", **settings)


def test_plain_texts_are_refused_with_their_lines(files, tmp_path):
    write_jsonl(tmp_path / "texts.jsonl", [{"text": "once upon a time"}] * 3)
    with pytest.raises(Refused, match="span corruption"):
        run_stage("sft", {"sft": tmp_path / "texts.jsonl"}, files["base"], tmp_path / "never")


@pytest.mark.parametrize("kind", ["prefix", "prompt"])
def test_noise_that_would_find_no_embeddings_is_refused(files, tmp_path, kind):
    with pytest.raises(Refused, match="beneath virtual tokens"):
        run_stage(
            "sft", files, files["base"], tmp_path / "never", adapter__kind=kind, adapter__rank=16, training__neftune_alpha=5
        )


# ------------------------------------------------------------------------------------------------------------ real use


@pytest.mark.slow
def test_a_model_from_scratch_learns_to_write_words_in_capitals(tmp_path):
    """Of unseen words most are written right, by a model that began with random weights; both baselines get almost none."""
    words = ["".join(letters) for size in (1, 2, 3, 4) for letters in itertools.product("abcdef", repeat=size)]
    random.Random(0).shuffle(words)
    rows = [{"prompt": word, "completion": word.upper()} for word in words[:1000]]
    write_jsonl(tmp_path / "train.jsonl", rows[:900])
    write_jsonl(tmp_path / "held.jsonl", rows[900:])
    base = tiny.save_base(tmp_path / "base", model=tiny.t5(width=64, dropout=0.0), tokens=tiny.t5_tokenizer())
    run_stage(
        "sft", {"sft": tmp_path / "train.jsonl"}, base, tmp_path / "run", adapter__kind="full", training__epochs=14,
        training__batch_size=32, training__learning_rate=3e-3, training__warmup=10, hardware__micro_batch=32,
    )  # fmt: skip
    question = Question((str(tmp_path / "run"),), (str(tmp_path / "held.jsonl"),), decoding=Decoding(max_new_tokens=8))
    result = evaluate(question, Hearing())
    assert result["arms"][0]["references"]["exact"]["low"] > 0.5
    for trivial in result["references"]["baselines"]:
        assert trivial["exact"]["value"] < 0.05 and trivial["exact"]["difference"]["high"] < -0.4
