"""A collection that is served, and one person who is signed in."""

import pytest

from tests.data_recipes.collect import web_world as world


@pytest.fixture
def store(tmp_path):
    with world.collection(tmp_path / "votes.db") as made:
        yield made


@pytest.fixture
def ana(store):
    return world.signed_in(store, "ana")
