"""Links, sessions, and erasing one person without losing the votes."""

from __future__ import annotations

import pytest

from data_recipes.collect.model import Plan
from data_recipes.collect.store import Store
from data_recipes.errors import Refused
from tests.data_recipes.collect.made import Clock, Voter, made


def test_a_new_link_ends_the_old_one_and_its_sessions_unless_told_otherwise(tmp_path):
    store = made(tmp_path / "v.db")
    old = store.new_token("ana")
    secret = store.session_open(1)
    beside = store.new_token("ana", ends_old=False)
    assert store.annotator_of_token(old).name == store.annotator_of_token(beside).name == "ana"
    assert store.annotator_of_session(secret).id == 1
    store.new_token("ana")
    assert store.annotator_of_token(old) is store.annotator_of_token(beside) is store.annotator_of_session(secret) is None


def test_sessions_end_by_signing_out_and_with_time(tmp_path):
    clock = Clock()
    store = made(tmp_path / "v.db", clock=clock)
    one, two = store.session_open(1), store.session_open(1)
    store.session_close(one)
    assert store.annotator_of_session(one) is None and store.annotator_of_session(two).name == "ana"
    clock.now += 31 * 24 * 3600
    assert store.annotator_of_session(two) is None


def test_no_secret_stands_in_the_file(tmp_path):
    store = made(tmp_path / "v.db")
    secrets = [store.new_token("ana"), store.session_open(1)]
    store.close()
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert not any(secret.encode() in content for secret in secrets)


def test_whoever_is_revoked_gets_nothing_more_and_the_votes_stay(tmp_path):
    store = made(tmp_path / "v.db", 3)
    token, task = store.new_token("ana"), store.claim(1)
    Voter(store, 1).vote(task)
    open_task = store.claim(1)
    store.revoke("ana")
    assert store.annotator_of_token(token) is store.claim(1) is None
    with pytest.raises(Refused, match="takes no part"):
        Voter(store, 1).vote(open_task)
    assert len(store.votes()) == 1 and Voter(store, 2).all() == 2
    store.add_annotator("ana")
    assert store.annotator(1).active


def test_items_that_too_few_people_are_left_for_are_named(tmp_path):
    store = made(tmp_path / "v.db", 3, ("ana", "ben", "cleo"), overlap=2)
    Voter(store, 1).vote()
    first = store.votes()[0].item
    store.claim(2)
    assert store.lead_overview()["stuck"] == []
    store.revoke("cleo")
    assert store.lead_overview()["stuck"] == []
    store.revoke("ana")
    assert store.lead_overview()["stuck"] == [number for number in (1, 2, 3) if number != first]


def test_erasing_takes_name_and_words_out_of_the_file_and_leaves_votes_and_their_hash(tmp_path):
    store = made(tmp_path / "v.db", 4, overlap=2)
    ana = Voter(store, 1)
    task = store.claim(1)
    ana.send("comment", task, {"text": "Zanzibar is where I live"})
    ana.send("edit", task, {"side": "left", "text": "an edited answer"})
    ana.vote(task)
    ana.send("skip", store.claim(1), {"reason": "Quagga is my pet"})
    before = store.events_hash()
    done = store.erase("ana")
    assert (done["texts"], done["votes_kept"], done["now"]) == (2, 1, "erased-1")
    assert store.events_hash() == before and len(list(store.events())) == 4
    vote = store.votes()[0]
    assert (vote.annotator, vote.comment, vote.edited[1]) == ("erased-1", None, "an edited answer")
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())  # while it is open, so that the log counts too
    assert not any(word in content for word in (b"Zanzibar", b"Quagga", b"ana"))
    store.erase("erased-1", edits=True)
    assert store.votes()[0].edited is None


@pytest.mark.parametrize("people, message", [
    (("ana", "ana"), "twice"), (("a/b",), "cannot be a person's name"), (("",), "cannot be a person's name")])
def test_names_that_make_no_sense_are_refused_and_leave_no_file(tmp_path, people, message):
    with pytest.raises(Refused, match=message):
        Store.create(tmp_path / "v.db", Plan((), people))
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_name_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(Refused, match="ana, ben"):
        made(tmp_path / "v.db").new_token("cleo")


def test_erasing_says_so_where_a_reader_keeps_the_log(tmp_path):
    store = made(tmp_path / "v.db", 4)
    Voter(store, 1).send("comment", store.claim(1), {"text": "Zanzibar"})
    with Store.open(tmp_path / "v.db") as other, other.snapshot() as view:
        assert view.votes() == []
        assert store.erase("ana")["log_cleared"] is False
    assert store.erase("erased-1")["log_cleared"] is True
    assert not any(b"Zanzibar" in path.read_bytes() for path in tmp_path.iterdir())
