"""What labelled rows are asked for, their targets, and a split that keeps every class on both sides."""

import pytest

from data_recipes.errors import Refused
from data_recipes.labels import Example, Problem, problem_of, strata_of, target_of
from data_recipes.records import BadRow, Labelled, Tagged
from data_recipes.split import stratified
from data_recipes.tagging import places_in


def rows(*labels):
    return [Labelled(f"text {number}", label) for number, label in enumerate(labels)]


def tagged(*tags):
    text, places = places_in(["w"] * len(tags))
    return Tagged(("w",) * len(tags), tags, text, places)


@pytest.mark.parametrize(("labels", "task", "names"), [
    (("pos", "neg", "pos"), "single", ("neg", "pos")),
    ((1, 0, 10, 2), "single", ("0", "1", "2", "10")),
    (("10", "9"), "single", ("9", "10")),
    ((True, False), "single", ("false", "true")),
    (("1.5", "2"), "regression", ()),
    ((0.5, 1.0), "regression", ()),
    ((("a",), (), ("b", "a")), "multi", ("a", "b")),
])
def test_the_task_is_told_from_the_labels(labels, task, names):
    found = problem_of(rows(*labels))
    assert (found.task, found.names) == (task, names)


def test_tags_are_told_and_o_comes_first_then_types():
    found = problem_of([tagged("B-PER", "I-PER", "O", "B-LOC")])
    assert (found.task, found.scheme, found.names) == ("token", "BIO", ("O", "B-LOC", "B-PER", "I-PER"))
    assert problem_of([tagged("NOUN", "VERB")]).scheme == "plain"


@pytest.mark.parametrize(("records", "said"), [
    (rows("a", "a"), "one class alone"),
    (rows("a", ("a",)), "some a list"),
    (rows(*range(40)), "40 different whole numbers"),
    ([tagged("I-PER", "O")], "IOB1"),
    ([tagged("S-PER", "B-LOC", "O")], "no scheme known here"),
])
def test_labels_that_are_of_no_task_are_refused(records, said):
    with pytest.raises(Refused, match=said):
        problem_of(records)


def test_given_names_keep_their_order_and_rows_may_say_their_places():
    assert problem_of(rows("b", "a"), names=["b", "a"]).names == ("b", "a")
    places = problem_of(rows(0, 1), names=["no", "yes"])
    assert places.indices and target_of(Labelled("t", 1), places) == 1
    with pytest.raises(BadRow, match="unknown-label"):
        target_of(Labelled("t", 2), places)
    with pytest.raises(Refused, match="named twice"):
        problem_of(rows("a", "b"), names=["a", "a"])


def test_a_parents_order_is_kept_only_where_the_classes_are_the_same():
    assert problem_of(rows("a", "b"), known=("b", "a")).names == ("b", "a")
    assert problem_of(rows("a", "c"), known=("b", "a")).names == ("a", "c")


def test_targets():
    assert target_of(Labelled("t", "2.5"), Problem("regression")) == 2.5
    assert target_of(Labelled("t", ("b", "a", "b")), Problem("multi", ("a", "b"))) == (0, 1)
    assert target_of(tagged("O", "B-X"), Problem("token", ("O", "B-X", "I-X"), "BIO")) == (0, 1)


@pytest.mark.parametrize(("record", "problem", "reason"), [
    (Labelled("t", "many"), Problem("regression"), "wrong-type"),
    (Labelled("t", True), Problem("regression"), "wrong-type"),
    (Labelled("t", "c"), Problem("single", ("a", "b")), "unknown-label"),
    (Labelled("t", ("a", "b")), Problem("single", ("a", "b")), "wrong-type"),
    (tagged("O", "I-X"), Problem("token", ("O", "B-X", "I-X"), "BIO"), "wrong-tags"),
])
def test_a_label_that_cannot_be_used_says_why(record, problem, reason):
    with pytest.raises(BadRow) as error:
        target_of(record, problem)
    assert error.value.reason == reason


def test_each_class_gives_its_share_and_no_text_is_on_both_sides():
    records = [Labelled(f"text {number % 60}", "rare" if number % 60 < 4 else "usual") for number in range(120)]
    problem = problem_of(records)
    examples = [Example(record, target_of(record, problem)) for record in records]
    train, held_out = stratified(records, strata_of(examples, problem), 0.25, seed=1)
    assert sorted(train + held_out) == list(range(120))
    texts = [{records[at].text for at in part} for part in (train, held_out)]
    assert not texts[0] & texts[1] and len(texts[1]) == 15
    assert len({records[at].text for at in held_out if records[at].label == "rare"}) == 1
    assert (train, held_out) == stratified(records, strata_of(examples, problem), 0.25, seed=1)


def test_a_class_with_two_texts_is_on_both_sides_and_one_with_one_stays():
    records = rows("a", "a", *["b"] * 30, "c")
    train, held_out = stratified(records, [str(record.label) for record in records], 0.01, seed=0)
    assert {records[at].label for at in held_out} == {"a", "b"} and len(train) == 31
    assert stratified(records, ["x"] * 33, 0.0, seed=0) == (list(range(33)), [])


def test_the_rarest_class_decides_the_stratum_and_a_number_its_tenth():
    problem = Problem("multi", ("a", "b"))
    examples = [Example(record, target) for record, target in zip(rows(*"abcd"), [(0,), (0,), (0, 1), ()], strict=True)]
    assert strata_of(examples, problem) == ["0", "0", "1", "none"]
    numbers = [Example(record, float(number)) for number, record in enumerate(rows(*range(20)))]
    assert len(set(strata_of(numbers, Problem("regression")))) == 10
