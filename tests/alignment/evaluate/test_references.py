"""Answers beside the rows' own: encoder-decoders by themselves, decoders where asked; baselines, differences, refusals."""

import json

import pytest

from alignment.evaluate import references
from alignment.evaluate.evaluation import Question, evaluate
from alignment.evaluate.show import print_result
from alignment.generation.decoding import Decoding
from data_recipes.errors import Refused
from data_recipes.files import write_jsonl
from data_recipes.records import Message, Prompt
from tests import tiny

SHORT = Decoding(max_new_tokens=5)
FIGURES = {"rouge1", "rouge2", "rougeL", "exact", "bleu"}


class Quiet:
    def __init__(self):
        self.warnings = []

    def say(self, text):
        pass

    def warn(self, text):
        self.warnings.append(text)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    home = tmp_path_factory.mktemp("references")
    tiny.save_base(home / "t5", model=tiny.t5(), tokens=tiny.t5_tokenizer())
    tiny.save_base(home / "other", model=tiny.t5(seed=1), tokens=tiny.t5_tokenizer())
    tiny.save_base(home / "llama")
    write_jsonl(home / "rows.jsonl", tiny.demonstrations(6))
    write_jsonl(home / "prompts.jsonl", [{"prompt": "Where?"}])
    write_jsonl(home / "texts.jsonl", [{"text": "once upon a time"}])
    return home


def ask(folders, *models, data="rows.jsonl", **options):
    names = tuple(str(folders / name) for name in models)
    return evaluate(Question(models=names, data=(str(folders / data),), decoding=SHORT, **options), Quiet())


def test_encoder_decoders_are_measured_by_their_answers_with_baselines_and_paired_differences(folders, tmp_path, capsys):
    result = ask(folders, "t5", "other", output=tmp_path)
    first, second = (arm["references"] for arm in result["arms"])
    assert set(first) == FIGURES and "difference" not in first["bleu"] and second["rougeL"]["difference"]["n"] == 6
    assert first["exact"]["low"] == 0 and first["exact"]["high"] > 0.3  # none of six right is no certainty
    lead, commonest = result["references"]["baselines"]
    assert commonest["exact"]["value"] == pytest.approx(1 / 6) and lead["rouge1"]["value"] > 0
    assert commonest["rouge1"]["difference"]["low"] > 0
    rows = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert rows[0]["reference"] == "Hello! order 0 is fine." and len(rows[0]["answers"]) == 2
    print_result(result)
    shown = capsys.readouterr().out
    assert "Answers beside the rows' own, 6 rows" in shown and "(the commonest answer)" in shown and "ROUGE-L" in shown


def test_the_loss_of_an_encoder_decoder_is_that_of_the_model_itself(folders):
    import torch

    from alignment.models import load_policy
    from alignment.training.targets import TargetCollator

    found = ask(folders, "t5", references=False)["arms"][0]
    loaded, rows = load_policy(folders / "t5"), tiny.demonstrations(6)
    nats = tokens = 0
    for row in rows:
        asked, said = (turn["content"] for turn in row["messages"])
        ids, labels = loaded.tokenizer(asked)["input_ids"], loaded.tokenizer(said)["input_ids"]
        with torch.no_grad():
            loss = loaded.model(**TargetCollator(loaded.model, 0)([{"input_ids": ids, "labels": labels}])).loss
        nats, tokens = nats + loss.item() * len(labels), tokens + len(labels)
    assert found["held_out"]["loss"] == pytest.approx(nats / tokens, rel=1e-5) and found["held_out"]["tokens"] == tokens
    assert "references" not in found


def test_a_decoder_is_measured_so_where_it_is_asked(folders):
    assert "references" not in ask(folders, "llama")["arms"][0]
    assert set(ask(folders, "llama", references=True)["arms"][0]["references"]) == FIGURES
    assert "references" not in ask(folders, "llama", "t5")["arms"][0]  # not all of them are encoder-decoders


def test_rows_without_answers_are_refused(folders):
    with pytest.raises(Refused, match="nothing says what a good answer"):
        ask(folders, "t5", data="prompts.jsonl", references=True)
    with pytest.raises(Refused, match="no answers of their own"):
        ask(folders, "t5", data="prompts.jsonl", references=True, rewards=("reward.rules:length_band(low=1, high=3)",))
    with pytest.raises(Refused, match="plain text has no prompt"):
        ask(folders, "llama", data="texts.jsonl", references=True)


def test_the_lead_of_a_prompt_is_what_the_user_said_last():
    before = (Message("system", "S."), Message("user", "Old."), Message("assistant", "A."))
    prompt = Prompt((*before, Message("user", "One. Two!\nThree? Four.")))
    assert references.first_sentences(prompt) == "One. Two! Three?"
