"""Exact overlap, nothing twice, nothing lost: what the store promises to the people who vote."""

from __future__ import annotations

from collections import Counter

import pytest

from data_recipes.collect.model import Conflict, Entry, ListPlan
from data_recipes.collect.store import Store
from data_recipes.errors import Refused
from tests.data_recipes.collect.made import Clock, Voter, item, items, made


def test_each_item_goes_to_exactly_as_many_people_as_asked_and_never_twice_to_one(tmp_path):
    store = made(tmp_path / "v.db", 10, ("a", "b", "c", "d"), overlap=3)
    voters = [Voter(store, person.id) for person in store.annotators() if person.asked]
    for turn in range(60):
        if store.claim(voters[turn % 4].who):
            voters[turn % 4].vote()
    votes = store.votes()
    assert Counter(vote.item for vote in votes) == dict.fromkeys(range(1, 11), 3)
    assert max(Counter((vote.item, vote.annotator) for vote in votes).values()) == 1
    assert [store.claim(voter.who) for voter in voters] == [None] * 4


def test_the_same_entry_again_gets_the_very_same_reply_also_after_a_restart(tmp_path):
    store = made(tmp_path / "v.db")
    ana = Voter(store, 1)
    task = store.claim(1)
    body = {"choice": "left", "strength": 3}
    first = ana.send("vote", task, body, client_id="x")
    assert ana.send("vote", task, body, client_id="x", ms=9999) == first  # a retry may have waited longer
    store.close()
    again = Store.open(tmp_path / "v.db")
    assert Voter(again, 1).send("vote", task, body, client_id="x") == first
    assert len(again.votes()) == 1 and len(list(again.events())) == 1


def test_another_body_under_a_known_id_is_a_conflict_and_changes_nothing(tmp_path):
    store = made(tmp_path / "v.db")
    task = store.claim(1)
    Voter(store, 1).send("vote", task, {"choice": "left"}, client_id="x")
    with pytest.raises(Conflict):
        Voter(store, 1).send("vote", task, {"choice": "right"}, client_id="x")
    with pytest.raises(Conflict, match="answered this item already"):
        Voter(store, 1).send("vote", task, {"choice": "right"}, client_id="y")
    assert [vote.client_id for vote in store.votes()] == ["x"]
    assert Voter(store, 2).send("vote", store.claim(2), {"choice": "tie"}, client_id="x")["ok"]  # ids are each person's own


def test_a_task_stays_with_its_person_until_its_time_is_over(tmp_path):
    clock = Clock()
    store = made(tmp_path / "v.db", 1, clock=clock)
    task = store.claim(1)
    assert store.claim(1) == task
    assert store.claim(2) is None
    clock.now += 1801
    assert store.claim(2).item == task.item
    assert store.claim(1) is None


def test_what_is_given_back_goes_to_others_or_comes_back_as_it_was(tmp_path):
    store = made(tmp_path / "v.db", 3)
    task = store.claim(1)
    assert store.release(1, task.lease) and not store.release(1, task.lease)
    again = store.claim(1)
    assert (again.item, again.left) == (task.item, task.left)
    store.release(1, again.lease)
    assert store.release(2, task.lease) is False


def test_a_vote_that_comes_too_late_is_kept_and_counts_where_a_place_gets_free(tmp_path):
    clock = Clock()
    store = made(tmp_path / "v.db", 1, clock=clock)
    late = store.claim(1)
    clock.now += 1801
    task = store.claim(2)
    assert Voter(store, 1).vote(late)["counted"] is False
    assert [vote.counted for vote in store.votes()] == [False] and store.lists()[0]["complete"] == 0
    store.release(2, task.lease)
    assert [vote.counted for vote in store.votes()] == [True] and store.lists()[0]["complete"] == 1
    assert store.claim(2) is None


def test_a_late_vote_counts_at_once_where_nobody_took_the_place(tmp_path):
    clock = Clock()
    store = made(tmp_path / "v.db", 1, clock=clock)
    task = store.claim(1)
    clock.now += 1801
    store.sweep()
    assert Voter(store, 1).vote(task)["counted"] is True


def test_undo_is_an_event_of_its_own_and_opens_the_task_again(tmp_path):
    store = made(tmp_path / "v.db", 3)
    ana = Voter(store, 1)
    task = store.claim(1)
    reply = ana.vote(task)
    ahead = store.claim(1)
    ana.undo(reply)
    assert store.votes() == []
    again = store.claim(1)
    assert (again.item, again.lease, again.left) == (task.item, task.lease, task.left)
    ana.vote(again, "right")
    assert store.claim(1) == ahead
    assert [event["kind"] for event in store.events()] == ["vote", "undo", "vote"]
    with pytest.raises(Conflict, match="taken back already"):
        ana.undo(reply)
    with pytest.raises(Refused):
        Voter(store, 2).undo(reply)


def test_a_skipped_or_flagged_item_goes_to_somebody_else(tmp_path):
    store = made(tmp_path / "v.db", 1)
    Voter(store, 1).send("skip", store.claim(1), {"reason": "cannot judge"})
    assert store.claim(1) is None
    Voter(store, 2).send("flag", store.claim(2), {"reason": "a real address"})
    overview = store.lead_overview()
    assert overview["stuck"] == [1] and overview["flags"][0]["reason"] == "a real address"
    assert overview["skips"] == [{"annotator": "ana", "item": 1, "reason": "cannot judge"}]


def test_a_vote_is_kept_in_the_order_of_the_file_whatever_side_was_shown(tmp_path):
    store = made(tmp_path / "v.db", 12, overlap=2)
    for voter in (Voter(store, 1), Voter(store, 2)):
        for _ in range(12):
            voter.for_text("second", strength=3)
    votes = store.votes()
    assert {(vote.verdict, vote.signed) for vote in votes} == {("second", 3)}
    assert Counter(vote.swapped for vote in votes) == {True: 12, False: 12}
    assert all(vote.first.startswith("first") and vote.sources == ("runs/a", "runs/b") for vote in votes)


def test_what_is_acceptable_and_edited_follows_the_sides_too(tmp_path):
    store = made(tmp_path / "v.db", 8, plan={"tags": ("a", "b")})
    ana = Voter(store, 1)
    for _ in range(8):
        task = store.claim(1)
        good = "left" if task.left.startswith("first") else "right"
        bad = {"left": "right", "right": "left"}[good]
        ana.send("edit", task, {"side": good, "text": "better"})
        ana.send("comment", task, {"text": "hm"})
        ana.vote(task, good, acceptable={good: True, bad: False}, tags=["b", "a", "a"])
    assert {vote.acceptable for vote in store.votes()} == {(True, False)}
    assert {(vote.edited, vote.comment, vote.tags) for vote in store.votes()} == {(("first", "better"), "hm", ("a", "b"))}
    assert {vote.swapped for vote in store.votes()} == {True, False}


def test_sides_are_balanced_for_each_item_and_each_person(tmp_path):
    store = made(tmp_path / "v.db", 40, ("a", "b", "c"), overlap=2)
    voters = [Voter(store, number) for number in (1, 2, 3)]
    for turn in range(120):
        if store.claim(voters[turn % 3].who):
            voters[turn % 3].vote()
    votes = store.votes()
    assert all(count == 1 for count in Counter((vote.item, vote.swapped) for vote in votes).values())
    for name in "abc":
        sides = [vote.swapped for vote in votes if vote.annotator == name]
        assert abs(2 * sum(sides) - len(sides)) <= 6
    alone = made(tmp_path / "one.db", 41, ("a",))
    Voter(alone, 1).all()
    sides = [vote.swapped for vote in sorted(alone.votes(), key=lambda vote: int(vote.client_id.split("-")[1]))]
    assert abs(2 * sum(sides) - 41) <= 2 and sides != [bool(at % 2) for at in range(41)] != [not side for side in sides]


def test_repeats_come_back_swapped_to_the_same_person_and_not_at_once(tmp_path):
    store = made(tmp_path / "v.db", 40, ("a",), repeats=0.25)
    assert Voter(store, 1).all() == 50
    votes = {vote.item: vote for vote in store.votes()}
    order = {event["item"]: at for at, event in enumerate(store.events())}
    repeats = [vote for vote in votes.values() if vote.kind == "repeat"]
    assert len(repeats) == 10
    assert all(vote.swapped != votes[vote.of].swapped for vote in repeats)
    assert sum(order[vote.item] - order[vote.of] > 8 for vote in repeats) >= 7  # but for the list's end
    assert store.progress(1).total == 50


def test_gold_is_spread_among_the_rest_and_nothing_in_a_task_tells_it(tmp_path):
    gold = tuple(item(100 + number, "gold", expected="first") for number in range(5))
    store = made(tmp_path / "v.db", people=("a", "b"), items=(*items(40), *gold), overlap=2)
    for who in (1, 2):
        tasks, replies = [], []
        while (task := store.claim(who)) is not None:
            tasks.append(task)
            replies.append(Voter(store, who).send("vote", task, {"choice": "left"}, client_id=f"{task.item}"))
        asked = [int(task.messages[0]["content"].split()[1]) for task in tasks]
        places = [at for at, number in enumerate(asked) if number >= 100]
        assert min(task.item for task, number in zip(tasks, asked, strict=True) if number >= 100) < 40
        assert len({(*reply, reply["counted"], reply["feedback"]) for reply in replies}) == 1
        assert len(tasks) == 45 and len(places) == 5 and places[0] < 12 and places[-1] > 30
        assert tuple(tasks[0].__slots__) == ("lease", "item", "messages", "left", "right", "training")
        assert not any(task.training for task in tasks)
    assert {vote.gold for vote in store.votes() if vote.kind == "gold"} == {"first"}


def test_training_comes_first_with_feedback_on_the_sides_that_were_shown(tmp_path):
    training = tuple(item(100 + number, "training", expected="second", why="Kinder.") for number in range(4))
    store = made(tmp_path / "v.db", items=(*items(2), *training))
    assert store.questions() == {"acceptable": False, "tags": [], "training": True}
    for _ in range(4):
        task = store.claim(1)
        assert task.training
        side = "left" if task.left.startswith("second") else "right"
        reply = Voter(store, 1).send("vote", task, {"choice": side}, client_id=str(task.item))
        assert reply["feedback"] == {"expected": side, "right": True, "text": "Kinder."}
    assert not store.claim(1).training


def test_a_judge_takes_nobodys_place(tmp_path):
    store = made(tmp_path / "v.db", 3, ("ana",))
    judge = store.add_annotator("judge-1", "judge")
    assert Voter(store, judge.id).all() == 3
    assert Voter(store, 1).all() == 3
    assert Counter(vote.role for vote in store.votes()) == {"annotator": 3, "judge": 3}


def test_a_lead_sees_disagreements_and_settles_them(tmp_path):
    store = made(tmp_path / "v.db", 1, overlap=2, plan={"leads": ("lead",)})
    Voter(store, 1).for_text("first")
    Voter(store, 2).for_text("second")
    lead = next(person for person in store.annotators() if person.role == "lead")
    assert store.claim(lead.id) is None
    found = store.lead_overview()["disagreements"][0]
    assert found["settled"] is None and [vote["signed"] for vote in found["votes"]] == [-2, 2]
    Voter(store, lead.id).vote(store.task_for_lead(1, lead.id), "tie")
    assert store.lead_overview()["disagreements"][0]["settled"] == "tie"
    assert [vote.settles for vote in store.votes()] == [False, False, True]
    assert store.lists()[0]["votes"] == 2
    with pytest.raises(Refused, match="only a lead"):
        store.task_for_lead(1, 1)


def test_lists_have_their_own_people_and_settings_and_close_apart(tmp_path):
    store = made(tmp_path / "v.db", 2)
    store.add_list(ListPlan("two", items(3), overlap=1, repeats=0, people=("ben",)))
    assert store.add_list(ListPlan("two", items(5)))["known"] == 3
    assert Voter(store, 1).all() == 2
    store.set_open("two", False)
    assert store.claim(2) is None
    store.set_open("two", True)
    assert Voter(store, 2).all() == 5
    assert Counter(vote.list for vote in store.votes()) == {"main": 2, "two": 5} and len(store.votes("two")) == 5
    with pytest.raises(Refused, match="no list"):
        store.votes("three")


def test_nothing_can_be_taken_back_once_a_list_is_closed(tmp_path):
    store = made(tmp_path / "v.db", 2)
    reply = Voter(store, 1).vote()
    open_task = store.claim(1)
    store.set_open(None, False)
    with pytest.raises(Refused, match="closed"):
        Voter(store, 1).undo(reply)
    assert store.record(1, Entry("late", "vote", open_task.item, {"choice": "tie"}, open_task.lease))["counted"]


def test_each_vote_keeps_the_version_of_the_guidelines_that_was_shown(tmp_path):
    store = made(tmp_path / "v.db", 2)
    Voter(store, 1).vote()
    assert store.add_guidelines("Be fair.") == 1 and store.add_guidelines("Be kind.") == 2
    task = store.claim(1)
    store.record(1, Entry("new", "vote", task.item, {"choice": "tie"}, task.lease, 1, 2))
    assert {vote.client_id == "new": vote.guideline for vote in store.votes()} == {True: 2, False: 1}
    assert (store.guidelines().text, store.guidelines(1).text) == ("Be kind.", "Be fair.")
    task = store.claim(2)
    with pytest.raises(Refused, match="no version 3"):
        store.record(2, Entry("y", "vote", 1, {"choice": "tie"}, "z", 1, 3))


@pytest.mark.parametrize("kind, body", [
    ("vote", {"choice": "first"}), ("vote", {"choice": "left", "strength": 5}), ("vote", {"choice": "left", "strength": True}),
    ("vote", {"choice": "left", "acceptable": {"left": True}}), ("vote", {"choice": "left", "tags": ["unknown"]}),
    ("vote", {}), ("edit", {"side": "both", "text": "x"}), ("edit", {"side": "left", "text": " "}),
    ("comment", {"text": "\ud800"}), ("comment", {"text": "x" * 5001}), ("skip", {"reason": 3}), ("undo", {}), ("like", {}),
])
def test_an_entry_that_makes_no_sense_is_refused_and_the_task_stays_open(tmp_path, kind, body):
    store = made(tmp_path / "v.db", 1)
    task = store.claim(1)
    with pytest.raises(Refused):
        Voter(store, 1).send(kind, task, body)
    assert list(store.events()) == [] and store.claim(1) == task


def test_nobody_answers_for_another_or_without_a_task(tmp_path):
    store = made(tmp_path / "v.db", 2)
    task = store.claim(1)
    with pytest.raises(Refused, match="not given to this person"):
        Voter(store, 2).vote(task)
    with pytest.raises(Refused, match="not given to this person"):
        store.record(1, Entry("x", "vote", task.item, {"choice": "tie"}, None))


def test_progress_counts_down_to_nothing(tmp_path):
    store = made(tmp_path / "v.db", 10, overlap=1)
    ana = Voter(store, 1)
    assert (store.progress(1).done, store.progress(1).total, store.progress(1).seconds_left) == (0, 5, None)
    task = store.claim(1)
    assert (store.progress(1).current, store.progress(1).total) == (task.lease, 5)
    ana.vote(task)
    assert (store.progress(1).done, store.progress(1).total, store.progress(1).seconds_left) == (1, 5, 8.0)
    ana.all()
    assert (store.progress(1).total, store.progress(2).total) == (10, 0)
    assert [entry["kind"] for entry in store.mine(1, 3)] == ["vote"] * 3
