"""What is set for a process before it trains."""

import platform
import subprocess
import sys

import pytest

PAGES = """
import resource, torch
from alignment.hardware import keep_heap

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
    from alignment import hardware

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert hardware.keep_heap() is False
