"""Every cell of the table of kinds, for real: `make kinds`."""

import pytest

from tests.alignment.chains import metrics
from tests.alignment.kinds.cells import Cell, cells

pytestmark = pytest.mark.kinds


@pytest.mark.parametrize(("stage", "kind", "family"), [*cells("yes"), *cells("continued")])
def test_what_the_table_claims_holds(world, stage, kind, family):
    if kind in ("qlora", "8bit"):
        pytest.importorskip("bitsandbytes")
    Cell(world, stage, kind, family).all_holds()


@pytest.mark.parametrize(("stage", "kind", "family"), [one for one in cells("yes") if one[0] == "dpo" and one[1] != "full"])
def test_dpo_begins_a_fresh_adapter_on_a_base_too(world, tmp_path, stage, kind, family):
    if kind in ("qlora", "8bit"):
        pytest.importorskip("bitsandbytes")
    base = world.base(family, 64 if kind in ("qlora", "8bit") else 32)
    made = world.run(stage, kind, base, tmp_path / "run", **{"training.max_steps": 1})
    assert made["state"] == "completed"


@pytest.mark.parametrize("kind", ["bottleneck", "ia3", "prefix", "prompt"])
def test_the_other_adapters_train_on_a_quantised_base_too(world, tmp_path, kind):
    pytest.importorskip("bitsandbytes")
    made = world.run("sft", kind, world.base("llama", 64), tmp_path / "run", **{"model.quantisation": "4bit"})
    assert made["state"] == "completed"
    assert all(row["grad_norm"] > 0 for row in metrics(tmp_path / "run") if "grad_norm" in row)
