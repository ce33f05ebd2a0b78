"""The table of kinds: as the pages show it, its refusals, and one family of each kind for real; all cells: `make kinds`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from alignment import adapters
from alignment.adapters.table import table
from data_recipes.errors import Refused
from tests.alignment.kinds.cells import KINDS, Cell, cells

ROOT = Path(__file__).parents[3]
# A stage beside sft and a family for each kind, so that every stage and every family comes up
SOME = [
    ("lora", "sft", "t5"), ("rslora", "classify", "roberta"), ("dora", "reward", "gpt2"), ("qlora", "dpo", "llama"),
    ("8bit", "classify", "distilbert"), ("ia3", "dpo", "qwen"), ("bottleneck", "ppo", "llama"),
    ("houlsby", "reward", "qwen"), ("prefix", "dpo", "gpt2"), ("prompt", "classify", "bert"), ("full", "classify", "gpt2"),
    ("head", "classify", "bert"),
]  # fmt: skip


def test_the_table_is_shown_as_it_is():
    """In docs/adapters.md, and wherever else a page has one with this head."""
    head = table().splitlines()[0]
    pages = [page for page in (ROOT / "README.md", *ROOT.glob("docs/*.md")) if head in page.read_text(encoding="utf-8")]
    assert ROOT / "docs" / "adapters.md" in pages
    for page in pages:
        assert table() in page.read_text(encoding="utf-8"), f"{page.name}: python -m alignment.adapters.table"


def test_every_kind_is_tried_in_some_family():
    assert {kind for kind, *_ in SOME} == set(KINDS) and len({stage for _, stage, _ in SOME}) == 5


@pytest.mark.parametrize(("kind", "stage", "family"), SOME)
def test_a_kind_of_each_sort_holds_what_the_table_claims(world, kind, stage, family):
    if kind in ("qlora", "8bit"):
        pytest.importorskip("bitsandbytes")
    cell = Cell(world, stage, kind, family)
    cell.trained()
    cell.reloads()
    cell.merges()
    if stage == "dpo":
        cell.reference_is_the_parent()
    if stage == "dpo" or kind == "prompt":
        cell.resumes_to_the_same_bytes()


@pytest.mark.parametrize(("stage", "kind", "family"), [one for one in cells("no") if one[2] in ("llama", "distilbert")])
def test_what_the_table_denies_is_refused(world, tmp_path, stage, kind, family):
    base, reward = world.base(family), {"reward": "reward.rules:length_band(low=1, high=9)"} if stage == "ppo" else {}
    with pytest.raises(Refused) as caught:
        world.run(stage, kind, base, tmp_path / "never", **reward)
    assert not (tmp_path / "never").exists()
    assert caught.value.do, "what would work"


@pytest.mark.parametrize("kind", ["prefix", "prompt"])
def test_dpo_refuses_a_fresh_one_that_is_no_identity(world, tmp_path, kind):
    with pytest.raises(Refused, match="align sft first"):
        world.run("dpo", kind, world.base("llama"), tmp_path / "never")


def test_refusals_come_before_torch(world, tmp_path):
    """All that is denied, asked for in one process: torch, transformers and PEFT are not loaded by it."""
    asked = [[stage, adapters.FULL if kind == "full" else KINDS[kind].get("kind", kind), str(world.base(family))]
             for stage, kind, family in cells("no")]  # fmt: skip
    code = """if True:
        import json, sys
        from alignment import api
        from data_recipes.errors import Refused
        for stage, kind, base in json.loads(sys.argv[1]):
            more = {"ppo.reward": ["reward.rules:length_band(low=1, high=9)"]} if stage == "ppo" else None
            try:
                api._run(stage, model=base, data=sys.argv[2], output=sys.argv[3], settings={"adapter.kind": kind}, more=more)
            except Refused:
                continue
            sys.exit(f"{stage} {kind} {base} was not refused")
        sys.exit(", ".join({"torch", "transformers", "peft"} & set(sys.modules)) or 0)
    """
    data = world.data("sft")
    done = subprocess.run([sys.executable, "-c", code, json.dumps(asked), str(data), str(tmp_path / "never")],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
