"""One cell of the table of kinds: a stage, a kind and a family, run for real on a tiny model, and what holds of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
import torch

from alignment import adapters, api
from alignment.adapters.table import FAMILIES as CLAIMED
from alignment.adapters.table import claim, merging
from alignment.adapters.weights import continued_adapter, load_adapter_file, pin_reference, state_hash
from alignment.adapters.bottleneck import BottleneckConfig  # noqa: F401  (PEFT knows bottlenecks by it)
from alignment.adapters.folding import probe_rows
from alignment.merge import MergeRequest, merge
from alignment.models import Loading, adapter_folder, load_base, load_policy, load_run, outputs
from alignment.runs import Run
from alignment.sources import base_of, resolve
from alignment.tasks import CAUSAL
from data_recipes.errors import Interrupted, Refused
from data_recipes.files import write_jsonl
from tests import tiny, tiny_encoders
from tests.alignment.chains import StoppingUi, metrics, weights
from tests.tiny_shapes import DECODERS, ENCODERS, FAMILIES

KINDS = {
    **{name: {} for name in adapters.KINDS},
    "houlsby": {"kind": "bottleneck", "placement": "houlsby"},
    "8bit": {"kind": "qlora"},
}
QUANTISED = {"qlora": "4bit", "8bit": "8bit"}  # bitsandbytes' blocks are of 64 weights: a width of 64
OWN = {
    "rank": {"rank": 4},
    "virtual_tokens": {"virtual_tokens": 4},
    "bottleneck_size": {"bottleneck_size": 4},
}
SETTINGS = {
    "training.batch_size": 4,
    "training.max_steps": 3,
    "training.save_every": 2,
    "training.warmup": 0,
    "data.validation_share": 0.0,
    "hardware.threads": 1,
    "hardware.precision": "float32",
    "hardware.device": "cpu",
    "hardware.micro_batch": 2,
}
OF_STAGE = {
    "ppo": {
        "training.max_steps": 4, "ppo.rollout_size": 8, "ppo.max_new_tokens": 4, "ppo.eval_rows": 4, "ppo.update_epochs": 1,
        "data.validation_share": 0.2, "training.eval_every": 2, "ppo.normalise": "running",
    },
    "classify": {"data.validation_share": 0.25},
}  # fmt: skip


ROWS = [[3, 60, 70, 80, 90, 2], [3, 61, 2]]
MODEL_TYPES = {"qwen": "qwen2"}


def model_type(family: str) -> str:
    """transformers' name of a family of `tests/tiny_shapes.py`."""
    return MODEL_TYPES.get(family, family)


def cells(claimed: str) -> list[tuple[str, str, str]]:
    """(stage, kind, family) of each cell of which the table says so."""
    every = [(stage, kind, family) for stage, types in CLAIMED.items() for family in FAMILIES if model_type(family) in types
             for kind in KINDS]  # fmt: skip
    return [one for one in every if claim(one[0], KINDS[one[1]].get("kind", one[1]), model_type(one[2])) == claimed]


def without_adapter(model: torch.nn.Module, rows: list[list[int]]) -> torch.Tensor:
    """Outputs with the adapter off; PEFT cannot turn virtual tokens of a model with a head off, so there they become zeros."""
    if not (model.active_peft_config.is_prompt_learning and model.active_peft_config.task_type == "SEQ_CLS"):
        with model.disable_adapter():
            return outputs(model, rows)
    for parameter in model.prompt_encoder.parameters():
        parameter.data.zero_()
    return outputs(model, rows)


class World:
    """Bases and rows in one folder, and the runs that cells share as parents, each made once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.summaries: dict[Path, dict] = {}
        write_jsonl(folder / "demos.jsonl", tiny.demonstrations(12))
        write_jsonl(folder / "pairs.jsonl", tiny.comparisons(12))
        write_jsonl(folder / "labels.jsonl", [
            {"text": f"{'good' if i % 2 else 'bad'} film {i}", "label": "pos" if i % 2 else "neg"} for i in range(16)
        ])  # fmt: skip

    def base(self, family: str, width: int = 32) -> Path:
        folder = self.folder / f"{family}-{width}"
        if not folder.exists():
            if family in ENCODERS:
                tokens = tiny_encoders.byte_pieces() if family == "roberta" else tiny_encoders.word_pieces((), family)
                shape = {"width": width, "length": 128, "pad": tokens.pad_token_id}
                tiny.save_base(folder, model=tiny_encoders.encoder(family, len(tokens), **shape), tokens=tokens)
            elif family == "t5":
                tiny.save_base(folder, model=tiny.t5(width=width), tokens=tiny.t5_tokenizer())
            else:
                tiny.save_base(folder, model=DECODERS[family](width=width))
        return folder

    def data(self, stage: str) -> Path:
        return self.folder / {"sft": "demos.jsonl", "ppo": "demos.jsonl", "classify": "labels.jsonl"}.get(stage, "pairs.jsonl")

    def run(self, stage: str, kind: str, model: Path, output: Path, *, ui=None, fresh: bool = True, **more) -> dict:
        """Runs a stage; a kind that is the parent's is not named again."""
        asked = {"kind": kind, **KINDS[kind]}
        own = adapters.kind(asked["kind"]).keys
        adapter = {**asked, **{key: value for name, values in OWN.items() if name in own for key, value in values.items()}}
        settings = {**SETTINGS, **OF_STAGE.get(stage, {}), **more}
        if fresh or adapters.tunes_weights(asked["kind"]):
            settings |= {f"adapter.{key}": value for key, value in adapter.items()}
        if kind in QUANTISED:
            settings["model.quantisation"] = QUANTISED[kind]
        call = {"sft": api.sft, "reward": api.reward_model, "dpo": api.dpo, "ppo": api.ppo_policy, "classify": api.classify}
        nouns = {"reward": settings.pop("reward")} if "reward" in settings else {}
        nouns |= {"model": model, "data": self.data(stage), "output": output, "ui": ui or StoppingUi()}
        return call[stage](settings=settings, **nouns)

    def once(self, stage: str, kind: str, family: str) -> Path:
        """The run of a cell that others have as their parent, made at its first use."""
        output = self.folder / "runs" / f"{stage}-{kind}-{family}"
        if output not in self.summaries:
            cell = Cell(self, stage, kind, family)
            self.summaries[output] = cell.train(output)
        return output


@dataclass
class Cell:
    """A stage, a kind and a family: what is run, and what is looked at."""

    world: World
    stage: str
    kind: str
    family: str

    @property
    def name(self) -> str:
        return KINDS[self.kind].get("kind", self.kind)

    @property
    def fresh(self) -> bool:
        """Whether the cell's adapter is a new one: at the head of a chain, or where the parent's weights were tuned."""
        return self.stage in ("sft", "classify") or self.kind == "head"

    @cached_property
    def parent(self) -> Path:
        if self.fresh:
            return self.world.base(self.family, 64 if self.kind in QUANTISED else 32)
        return self.world.once("sft", self.kind, self.family)

    @property
    def run_path(self) -> Path:
        return self.world.once(self.stage, self.kind, self.family)

    def train(self, output: Path, **more) -> dict:
        settings = {"fresh": self.fresh, **more}
        if self.stage == "ppo":
            settings["reward"] = str(self.world.once("reward", self.kind, self.family))
        return self.world.run(self.stage, self.kind, self.parent, output, **settings)

    def resumes_to_the_same_bytes(self) -> None:
        straight, stopped = self.run_path, self.world.folder / "stopped" / f"{self.stage}-{self.kind}-{self.family}"
        with pytest.raises(Interrupted):
            self.train(stopped, ui=StoppingUi(at=1))
        assert json.loads((stopped / "align.json").read_text())["state"] == "interrupted"
        self.train(stopped)
        assert metrics(stopped) == metrics(straight)
        assert weights(stopped) == weights(straight)
        assert Run.open(stopped).manifest["content_hash"] == Run.open(straight).manifest["content_hash"]
        shutil.rmtree(stopped)

    def trained(self) -> None:
        """Some weight that is trained has moved from where it began, and nothing but what is trained was written."""
        run = Run.open(self.run_path)
        tuned = run.manifest["tuned"]
        assert tuned["kind"] == (self.name if self.fresh or self.name != "qlora" else "lora")  # continued on fewer bits
        assert 0 < tuned["parameters"] <= tuned["of"]
        if self.name != "full":
            assert tuned["parameters"] < tuned["of"]

    def adapter_config(self) -> dict:
        file = self.run_path / "adapter_config.json"
        return json.loads(file.read_text()) if file.exists() else {}

    def reloads(self) -> None:
        """Plain PEFT or transformers gives the outputs that the suite's own loader gives, and an adapter has an effect."""
        loaded = load_run(self.run_path)
        rows = [row[:32] for row in probe_rows(loaded)]
        ours = outputs(loaded.model, rows)
        assert torch.equal(outputs(self.plainly_loaded(), rows), ours)
        if self.adapter_config():
            assert not torch.equal(without_adapter(loaded.model, rows), ours), "the adapter changes nothing"

    def plainly_loaded(self) -> torch.nn.Module:
        import peft
        import transformers

        auto = {"sft": "CausalLM", "dpo": "CausalLM", "ppo": "CausalLM"}.get(self.stage, "SequenceClassification")
        auto = "Seq2SeqLM" if self.family == "t5" else auto
        labels = {"num_labels": {"reward": 1, "classify": 2}[self.stage]} if auto == "SequenceClassification" else {}
        made = getattr(transformers, f"AutoModelFor{auto}")
        if not self.adapter_config():
            return made.from_pretrained(self.run_path).eval()
        # AutoPeftModel would cut the embeddings to the tokenizer's length, which real Qwen models are longer than, too
        base = made.from_pretrained(self.adapter_config()["base_model_name_or_path"], **labels)
        return peft.PeftModel.from_pretrained(base, self.run_path).eval()

    def merges(self) -> None:
        """Folded, written and compared by the command itself; refused where the table says no."""
        request = MergeRequest(model=str(self.run_path), output=self.world.folder / "merged" / self.run_path.name)
        if merging(self.name) == "yes":
            assert merge(request, StoppingUi())["state"] == "completed"
            return
        with pytest.raises(Refused, match="whole model already" if adapters.tunes_weights(self.name) else "cannot be folded"):
            merge(request, StoppingUi())

    def feeds_the_next_stage(self) -> None:
        """A child of the run is trained; sft and reward runs are the parents of the cells to their right."""
        child = "sft" if self.family == "t5" else {"dpo": "sft", "ppo": "dpo", "classify": "classify"}.get(self.stage)
        if child:
            output = self.world.folder / "children" / self.run_path.name
            kind = "full" if self.kind == "head" and child != "classify" else self.kind
            self.world.run(child, kind, self.run_path, output, fresh=False, **{"training.max_steps": 1})
            manifest = Run.open(output).manifest
            assert manifest["state"] == "completed" and manifest["parents"]
            if self.adapter_config():
                assert manifest["adapter_lineage"][0] == Run.open(self.run_path).manifest["content_hash"]

    def reference_is_the_parent(self) -> None:
        """Pinned by hash; and a copy made as the stages make it gives the parent's outputs while the policy moves away."""
        recorded = Run.open(self.run_path).manifest["reference"]
        if adapters.tunes_weights(self.name):
            assert recorded["kind"] == "model"
            return
        parent = load_adapter_file(self.parent)
        assert recorded == {"kind": "adapter", "hash": state_hash(parent)}
        source = resolve(self.parent)
        base = load_base(base_of(source), Loading(device="cpu"))
        model = continued_adapter(base, adapter_folder(source), task=CAUSAL)
        model.add_adapter("ref", model.peft_config["default"])
        assert pin_reference(model) == recorded["hash"]
        for name, parameter in model.named_parameters():
            if "default" in name.split("."):
                parameter.data += 0.1
        model.set_adapter("ref")
        expected = outputs(load_policy(self.parent).model, ROWS)
        assert torch.equal(outputs(model, ROWS), expected)
        model.set_adapter("default")
        assert not torch.equal(outputs(model, ROWS), expected)

    def all_holds(self) -> None:
        """Every claim of the table for this cell."""
        self.trained()
        self.reloads()
        self.resumes_to_the_same_bytes()
        if self.stage in ("dpo", "ppo"):
            self.reference_is_the_parent()
        self.feeds_the_next_stage()
        self.merges()
