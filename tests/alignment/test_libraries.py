"""What is spared while the libraries load: no compiler for nobody, no collection; and all is as without it."""

from __future__ import annotations

import gc
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

from alignment.libraries import collector_at_rest, compiler_when_needed

INDUCTOR = "torch._inductor.compile_fx"


def loaded_by(imports: str) -> set[str]:
    """The modules that a fresh interpreter holds after `imports`."""
    code = f"{imports}\nimport sys; print('MODULES', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("MODULES")[2].split())


# Says what had been imported when torch was asked for, and ends there.
AT_TORCH = """
import os, sys
class Asked:
    def find_spec(self, name, path, target=None):
        if name == "torch":
            os.write(1, b"first" if "alignment.libraries" in sys.modules else b"late")
            os._exit(0)
sys.meta_path.insert(0, Asked())
import """


@pytest.mark.parametrize("command, module", [
    ("train", "alignment.session"), ("chat", "alignment.models"), ("generate", "alignment.generation.batched"),
    ("eval", "alignment.evaluate.held_out"), ("merge", "alignment.adapters.folding"),
])
def test_what_a_command_loads_first_spares_them(command, module):
    done = subprocess.run([sys.executable, "-c", AT_TORCH + module], capture_output=True, text=True, check=True)
    assert done.stdout == "first", command


@pytest.mark.skipif(not find_spec("bitsandbytes"), reason="bitsandbytes is not installed: nothing compiles at import")
def test_bitsandbytes_loads_without_the_compiler_that_it_would_load_by_itself():
    assert "bitsandbytes" in (ours := loaded_by("import alignment.training.libraries"))
    assert INDUCTOR not in ours
    assert INDUCTOR in loaded_by("import peft")  # or there is nothing to spare any more


@pytest.mark.skipif(not find_spec("bitsandbytes"), reason="bitsandbytes is not installed: nothing warns at import")
def test_bitsandbytes_does_not_warn_on_loading_and_its_logger_is_as_before():
    """A processor that it warns on is imitated by a logger that warns while the library loads."""
    code = (
        "import logging, sys\n"
        "class Warns:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'bitsandbytes.optim': logging.getLogger('bitsandbytes.backends.cpu.ops').warning('no kernel')\n"
        "sys.meta_path.insert(0, Warns())\n"
        "import alignment.libraries\n"
        "assert 'bitsandbytes.optim' in sys.modules\n"
        "logging.getLogger('bitsandbytes.backends.cpu.ops').warning('a later one')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "no kernel" not in done.stderr and "Failed to load" not in done.stderr and "a later one" in done.stderr


def test_what_is_decorated_meanwhile_is_compiled_by_inductor_when_it_is_called(monkeypatch):
    with compiler_when_needed():
        @torch.compile
        def doubled(x):
            return 2 * x

        @torch.compile(options={"max_autotune": False})
        def with_options(x):
            return x + 1

    from torch._inductor import compile_fx

    compiled = []

    def stand_in(graph, inputs, *, config_patches):
        compiled.append(config_patches)
        return graph.forward

    monkeypatch.setattr(compile_fx, "compile_fx", stand_in)
    assert compiled == [] and torch.compiler.get_default_backend() == "inductor"
    assert doubled(torch.ones(2)).tolist() == [2, 2] and with_options(torch.ones(1)).tolist() == [2]
    assert compiled == [{}, {"max_autotune": False}]


def test_a_backend_that_somebody_chose_stays():
    torch.compiler.set_default_backend("eager")
    try:
        with compiler_when_needed():
            assert torch.compiler.get_default_backend() == "eager"
        assert torch.compiler.get_default_backend() == "eager"
    finally:
        torch.compiler.set_default_backend(None)


@pytest.mark.parametrize("was_on, keep", [(True, True), (True, False), (False, True)])
def test_the_collector_is_left_as_it_was(was_on, keep):
    found = gc.isenabled()
    try:
        gc.enable() if was_on else gc.disable()
        before = gc.get_freeze_count()
        with collector_at_rest(keep):
            assert not gc.isenabled()
        assert gc.isenabled() is was_on
        assert (gc.get_freeze_count() > before) is (was_on and keep)
    finally:
        gc.enable() if found else gc.disable()  # what was frozen stays so: to thaw it would thaw the libraries too


@pytest.mark.parametrize("first, kept", [("", True), ("import torch", False)])
def test_what_a_program_made_before_is_no_permanent_object(first, kept):
    code = f"{first}\nimport alignment.libraries, gc\nprint('FROZEN', gc.get_freeze_count() > 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-2:] == ["FROZEN", str(kept)]
