"""Makes PEFT know the suite's own adapter kind whenever PEFT is loaded after `import alignment`, without loading it before.

`import alignment` costs nothing and must stay so, and a run with a bottleneck adapter shall load by plain PEFT once it was
said. So the import of `peft` is followed by that of `alignment.adapters.bottleneck`, through the seam that Python has for it: a
finder on `sys.meta_path`. It stays there: libraries also ask for PEFT's place without importing it.
"""

from __future__ import annotations

import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_loader
from types import ModuleType


class AfterPeft(MetaPathFinder):
    """Finds `peft` as the other finders do, with a loader that registers the kind once PEFT is whole."""

    asking = False  # the others are being asked

    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        """None for every other module."""
        if name != "peft" or self.asking:
            return None
        self.asking = True
        try:
            found = find_spec(name)
        finally:
            self.asking = False
        if found is None or found.loader is None:
            return found
        spec = spec_from_loader(name, Registering(found.loader), origin=found.origin, is_package=True)
        spec.submodule_search_locations = found.submodule_search_locations
        spec.has_location = found.has_location
        return spec


class Registering(Loader):
    """PEFT's own loader, and then the registration."""

    def __init__(self, inner: Loader) -> None:
        self.inner = inner

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.inner.exec_module(module)
        importlib.import_module("alignment.adapters.bottleneck")


def register_with_peft() -> None:
    """Now where PEFT is loaded already, otherwise as soon as it is."""
    if "peft" in sys.modules:
        importlib.import_module("alignment.adapters.bottleneck")
    else:
        sys.meta_path.insert(0, AfterPeft())
