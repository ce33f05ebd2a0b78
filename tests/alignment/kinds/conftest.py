"""One world a process: a cell's parents are trained once."""

import pytest

from tests.alignment.kinds.cells import World


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("kinds"))
