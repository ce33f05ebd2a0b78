"""What is spared while the libraries load: nothing is compiled for nobody, no folder read twice, and all is as without it."""

from __future__ import annotations

import gc
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import transformers
from transformers.utils import import_utils

from alignment.libraries import collector_at_rest, compiled_when_called, models_read_once

INDUCTOR = "torch._inductor.compile_fx"


def loaded_by(imports: str) -> set[str]:
    """The modules that a fresh interpreter holds after `imports`."""
    code = f"{imports}\nimport sys; print('MODULES', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("MODULES")[2].split())


@pytest.mark.skipif(not find_spec("bitsandbytes"), reason="bitsandbytes is not installed: nothing compiles at import")
def test_bitsandbytes_loads_without_the_compiler_that_it_would_load_by_itself():
    assert "bitsandbytes" in (ours := loaded_by("import alignment.training.libraries"))
    assert INDUCTOR not in ours
    assert INDUCTOR in loaded_by("import peft")  # or there is nothing to spare any more


def test_a_function_is_compiled_at_its_first_call_and_once(monkeypatch):
    compiled = []

    def stand_in(model, **options):
        compiled.append((model.__name__, options))
        return lambda *args: ("compiled", *args)

    monkeypatch.setattr(torch, "compile", stand_in)
    with compiled_when_called():
        @torch.compile
        def plain(x):
            """Its own text."""

        @torch.compile(dynamic=False)
        def with_options(x):
            pass

    assert compiled == [] and torch.compile is stand_in
    assert plain(1) == ("compiled", 1) == plain(1) and with_options(2) == ("compiled", 2)
    assert compiled == [("plain", {}), ("with_options", {"dynamic": False})]
    assert plain.__doc__ == "Its own text."


def test_a_module_is_compiled_at_once(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda model, **options: ("compiled", model))
    layer = torch.nn.Linear(1, 1)
    with compiled_when_called():
        assert torch.compile(layer) == ("compiled", layer)


def test_what_compiles_really_gives_the_same_values():
    with compiled_when_called():
        doubled = torch.compile(lambda x: 2 * x, backend="eager")
    assert doubled(torch.ones(2)).tolist() == [2, 2]


def test_the_second_list_of_models_is_what_transformers_would_have_read():
    module = str(Path(transformers.__file__).parent / "models" / "__init__.py")
    expected = import_utils.define_import_structure.__wrapped__(module)
    other = module.replace("__init__.py", "auto/__init__.py")
    elsewhere = import_utils.define_import_structure.__wrapped__(other)
    with models_read_once():
        assert import_utils.define_import_structure(module) == expected
        assert import_utils.define_import_structure(other) == elsewhere
    assert any("llama.modeling_llama" in held for held in expected.values())


def test_the_folders_of_models_are_read_once():
    code = (
        "import os; seen = []; real = os.scandir\n"
        "def counting(path='.'):\n    seen.append(os.path.realpath(path)); return real(path)\n"
        "os.scandir = counting\n"
        "import alignment.training.libraries, transformers\n"
        "folder = os.path.join(os.path.realpath(os.path.dirname(transformers.__file__)), 'models', 'zamba')\n"
        "print('TIMES', seen.count(folder))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout.rpartition("TIMES")[2]) == 1


@pytest.mark.parametrize("was_on", [True, False])
def test_the_collector_is_left_as_it_was(was_on):
    found = gc.isenabled()
    try:
        gc.enable() if was_on else gc.disable()
        with collector_at_rest():
            assert not gc.isenabled()
        assert gc.isenabled() is was_on
    finally:
        gc.enable() if found else gc.disable()
        gc.unfreeze()
