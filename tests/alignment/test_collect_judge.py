"""`align collect judge`: a model votes beside the people, abstains where the order decides, and goes on after a failure."""

import json
import re

import pytest

from alignment.cli import run
from data_recipes.collect.store import Store
from tests.data_recipes.augment.stand_ins import serving
from tests.data_recipes.collect.made import Voter, item, made


@pytest.fixture
def votes(tmp_path):
    with made(tmp_path / "votes.db", items=tuple(item(number) for number in range(6)), repeats=0.0) as store:
        ana = next(person for person in store.annotators() if person.name == "ana")
        while task := store.claim(ana.id):
            Voter(store, ana.id).vote(task, "left" if task.left.startswith("first") else "right")
    return tmp_path / "votes.db"


def by_number(body: dict) -> str:
    """Prefers the first of the items with an even number, what is shown first of item 3, and else cannot be read."""
    text = body["messages"][-1]["content"]
    sides = re.findall(r"<\w+ answer [AB]>\n(.*?)\n</", text, re.DOTALL)
    number = int(sides[0].split()[1])
    if number == 3:
        return "[[A]]"
    return "who knows" if number == 5 else f"[[{'AB'[sides.index(f'first {number}')]}]]"


def judge(votes, url: str, *options: str) -> int:
    return run(["collect", "judge", str(votes), "--judge", url, "--name", "robot", "--json", *options])


def test_a_judge_votes_where_both_orders_agree_and_skips_elsewhere(votes, capsys):
    with serving(by_number) as (url, server):
        assert judge(votes, url) == 0
        found = json.loads(capsys.readouterr().out)
        assert judge(votes, url) == 0
        assert json.loads(capsys.readouterr().out)["items"] == {} and len(server.seen) == 12
    counts = found["items"]
    assert counts.pop("skipped: order-decides") == 1 and counts.pop("skipped: unreadable") == 1 and sum(counts.values()) == 4
    assert all("Be fair." in body["messages"][0]["content"] for body in server.seen)
    with Store.open(votes) as store:
        given = [vote for vote in store.votes() if vote.role == "judge"]
        assert [vote.verdict for vote in given] == ["first"] * 4 and {vote.annotator for vote in given} == {"robot"}
    assert run(["collect", "stats", str(votes), "--json"]) == 0
    beside = json.loads(capsys.readouterr().out)["judges"][0]
    assert beside["annotator" if "annotator" in beside else "name"] == "robot"


def test_people_keep_their_places_and_exports_leave_judges_out(votes, capsys, tmp_path):
    with serving(by_number) as (url, _):
        assert judge(votes, url) == 0
    capsys.readouterr()
    with Store.open(votes) as store:
        assert len([vote for vote in store.votes() if vote.role != "judge"]) == 6
    for voices, rows in (("people", 6), ("judges", 4)):
        output = tmp_path / f"{voices}.jsonl"
        assert run(["collect", "export", str(votes), "--to", "dpo", "--votes-of", voices, "--output", str(output)]) == 0
        assert len(output.read_text().splitlines()) == rows


def test_no_answer_skips_nothing_and_the_same_command_goes_on(votes, capsys):
    state = {"well": False}

    def reply(body):
        ask = by_number(body)
        return ask if state["well"] or "4" not in re.findall(r"first (\d)", body["messages"][-1]["content"]) else (401, "no")

    with serving(reply) as (url, server):
        assert judge(votes, url) == 2
        assert "--key-env" in json.loads(capsys.readouterr().out)["error"]["message"]
        asked, state["well"] = len(server.answered), True
        assert judge(votes, url) == 0
    found = json.loads(capsys.readouterr().out)
    assert sum(found["items"].values()) == 6 - asked // 2


def test_a_person_is_no_judge_and_names_come_from_models(votes, capsys):
    from alignment.cli.collect_judge import default_name

    with serving(by_number) as (url, _):
        assert run(["collect", "judge", str(votes), "--judge", url, "--name", "ana"]) == 2
    assert "'ana' is a person" in capsys.readouterr().err
    assert default_name("http://h/v1#Qwen/Qwen3-8B") == "Qwen3-8B" and default_name("runs/dpo/") == "dpo"
    assert default_name("replay:a b.jsonl") == "replay-a-b.jsonl"
