"""What is set for a process before it trains."""

import platform
import subprocess
import sys

import pytest
import torch

from tests import tiny
from tests.alignment.chains import world

PAGES = """
import resource, torch
from alignment.hardware.plan import keep_heap

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(60):
        parts = [torch.ones(1 << 20) for _ in range(8)]  # 4 MiB each
        del parts
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.set_num_threads(1)
faults()
plain, asked, _, kept = faults(), keep_heap(), faults(), faults()
assert asked and kept < 100, (plain, kept)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_what_a_step_frees_is_there_for_the_next():
    ran = subprocess.run([sys.executable, "-c", PAGES], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_another_allocator_is_left_alone(monkeypatch):
    from alignment.hardware import plan

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert plan.keep_heap() is False


def test_memory_that_is_too_small_is_known_where_torch_has_no_class_for_it():
    """A processor's allocator says it in words; this asks it for more than any machine has."""
    from alignment.training.loop import out_of_memory

    with pytest.raises(RuntimeError) as full:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert not isinstance(full.value, torch.OutOfMemoryError) and out_of_memory(full.value)
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9.0 GB, other allocations: 1.0 GB)"))
    assert not out_of_memory(RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"))


def test_the_attention_that_is_recorded_is_the_one_that_runs(tmp_path):
    from alignment import sft
    from alignment.models import Loading, load_base
    from alignment.sources import resolve

    files = world(tmp_path, rows=8)
    for asked, runs in (("auto", "sdpa"), ("eager", "eager")):
        said = sft(model=files["base"], data=files["sft"], output=tmp_path / "run", dry_run=True,
                   settings={"model.attention": asked})
        model = load_base(resolve(files["base"]), Loading(attention=asked))
        assert said["hardware"]["attention"] == model.config._attn_implementation == runs


@pytest.mark.parametrize(("how", "said"), [
    ({"dtype": "bf16"}, "dtype cannot be 'bf16'.*bfloat16"), ({"device": "gpu"}, "no device 'gpu'.*cuda"),
    ({"device": "cuda:first"}, "no (cuda:first )?device"),
])
def test_a_name_of_no_dtype_or_device_is_refused_and_not_taken_for_another(tmp_path, how, said):
    from alignment.models import load_policy
    from data_recipes.errors import Refused

    tiny.save_base(tmp_path / "base")
    with pytest.raises(Refused, match=said):
        load_policy(tmp_path / "base", **how)
