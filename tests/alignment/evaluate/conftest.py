import pytest

from tests.alignment.evaluate import worlds


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    return worlds.build(tmp_path_factory.mktemp("world"))


@pytest.fixture
def ui():
    return worlds.Heard()
