"""The page over HTTP: coming in, voting, who sees what, and what is refused. In this process, without a browser."""

from __future__ import annotations

import zipfile
from io import BytesIO

import pytest

from data_recipes.collect.model import Entry
from tests.data_recipes.collect import web_world as world
from tests.data_recipes.collect.web_world import JSON, ORIGIN, URL, fields, signed_in, vote

# --------------------------------------------------------------------------------------------------------- coming in


def test_a_link_shows_a_button_that_tells_nothing_and_spends_nothing(store):
    client, token = world.client_of(store), store.new_token("ana")
    shown = client.get(f"/join/{token}")
    assert shown.status_code == 200 and "set-cookie" not in shown.headers and "ana" not in shown.text
    assert shown.text.replace(token, "x" * 9) == client.get(f"/join/{'x' * 9}").text
    assert client.get("/work").status_code == 401


def test_the_button_sets_a_strict_cookie_and_the_link_goes_on_working(store):
    client, token = world.client_of(store), store.new_token("ana")
    for _ in range(2):
        reply = client.post("/join", data={"link": token}, headers=ORIGIN)
        assert reply.status_code == 303 and reply.headers["location"] == "/work"
    cookie = reply.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and "path=/" in cookie and "secure" not in cookie
    assert token.lower() not in cookie and client.get("/work").status_code == 200


def test_a_cookie_is_for_tls_only_where_people_come_by_tls(store):
    from data_recipes.collect.web.app import make_app
    from data_recipes.collect.web.settings import plan

    settings = plan("127.0.0.1", 8765, behind_proxy=True, url="https://votes.example.org")
    client = world.TestClient(make_app(store, settings), base_url="http://votes.example.org", follow_redirects=False)
    told = {"link": store.new_token("ana")}
    reply = client.post("/join", data=told, headers={"origin": "https://votes.example.org"})
    assert reply.status_code == 303 and "; secure" in reply.headers["set-cookie"].lower()


def test_invite_ends_the_old_link_and_its_sessions_and_revoke_ends_all(store, ana):
    old = store.new_token("ana", ends_old=False)
    new = store.new_token("ana")
    assert ana.get("/work").status_code == 401
    assert ana.post("/join", data={"link": old}, headers=ORIGIN).status_code == 403
    assert ana.post("/join", data={"link": new}, headers=ORIGIN).status_code == 303
    store.revoke("ana")
    assert ana.get("/work").status_code == 401
    assert ana.post("/join", data={"link": new}, headers=ORIGIN).status_code == 403


def test_signing_out_ends_the_session_and_gives_the_item_back(store, ana):
    cookie = ana.cookies["align_collect"]
    token = fields(ana.get("/work").text)["token"]
    assert ana.post("/leave", data={"token": "wrong"}, headers=ORIGIN).status_code == 403
    assert ana.post("/leave", data={"token": token}, headers=ORIGIN).status_code == 200
    ana.cookies.set("align_collect", cookie)
    assert ana.get("/work").status_code == 401
    assert store.progress(store.annotators()[0].id).current is None


# ------------------------------------------------------------------------------------------------------------- voting


@pytest.mark.parametrize("choice, body", [
    ("left 4", {"choice": "left", "strength": 4}), ("left 1", {"choice": "left", "strength": 1}),
    ("right 1", {"choice": "right", "strength": 1}), ("right 4", {"choice": "right", "strength": 4}),
    ("tie", {"choice": "tie", "strength": None}), ("both_bad", {"choice": "both_bad", "strength": None}),
    ("both_good", {"choice": "both_good", "strength": None}),
])  # fmt: skip
def test_each_button_is_stored_as_what_it_says(store, ana, choice, body):
    assert vote(ana, choice).status_code == 200
    stored = next(iter(store.events()))["body"]
    assert {key: stored[key] for key in body} == body
    implied = {"both_bad": {"left": False, "right": False}, "both_good": {"left": True, "right": True}}
    assert stored["acceptable"] == implied.get(choice, {"left": True, "right": False})


def test_reasons_seconds_and_the_guidelines_version_are_stored(store, ana):
    store.add_guidelines("A new version.")
    data = {**fields(ana.get("/work").text), "choice": "left 2", "acceptable_left": "yes", "acceptable_right": "yes",
            "visible_ms": "12345", "tags": ["correct", "clear"]}  # fmt: skip
    assert ana.post("/entry", data=data, headers=JSON).status_code == 200
    event = next(iter(store.events()))
    assert (event["visible_ms"], event["guideline"], event["body"]["tags"]) == (12345, 2, ["clear", "correct"])


def test_an_answer_about_acceptance_must_not_be_missing(store, ana):
    reply = vote(ana, "left 3", acceptable_left="")
    assert reply.status_code == 400 and "acceptable" in reply.json()["error"]["text"]
    assert not list(store.events())


def test_acceptance_is_not_asked_where_the_guide_does_not_ask(tmp_path):
    with world.collection(tmp_path / "votes.db", acceptable=False, tags=()) as store:
        client = signed_in(store, "ana")
        page = client.get("/work").text
        assert "acceptable_left" not in page and 'name="tags"' not in page
        assert vote(client, "left 3", acceptable_left="", acceptable_right="").status_code == 200


def test_the_same_act_again_gets_the_same_bytes_and_another_body_is_a_conflict(store, ana):
    data = {**fields(ana.get("/work").text), "choice": "left 3", "acceptable_left": "yes", "acceptable_right": "no"}
    first, again = (ana.post("/entry", data=data, headers=JSON) for _ in range(2))
    assert first.status_code == again.status_code == 200 and first.content == again.content
    other = ana.post("/entry", data={**data, "choice": "right 3"}, headers=JSON)
    assert other.status_code == 409 and other.json()["error"]["title"]
    assert len(list(store.events())) == 1


def test_without_script_the_form_leads_on(store, ana):
    data = {**fields(ana.get("/work").text), "choice": "tie", "acceptable_left": "yes", "acceptable_right": "no"}
    reply = ana.post("/entry", data=data, headers=ORIGIN)
    assert reply.status_code == 303 and reply.headers["location"] == "/work"
    assert "1 of" in ana.get("/work").text


@pytest.mark.parametrize("kind, said, body", [
    ("skip", {"reason": "", "reason_given": "I cannot decide"}, {"reason": "I cannot decide"}),
    ("skip", {"reason": " my own ", "reason_given": "I cannot decide"}, {"reason": "my own"}),
    ("flag", {"reason": "", "reason_given": "Personal data"}, {"reason": "Personal data"}),
    ("comment", {"text": "two\r\nlines"}, {"text": "two\nlines"}),
    ("edit", {"side": "left", "text": "better\r\n  so"}, {"side": "left", "text": "better\n  so"}),
])  # fmt: skip
def test_what_else_can_be_said(store, ana, kind, said, body):
    data = {**fields(ana.get("/work").text, kind), **said}
    assert ana.post("/entry", data=data, headers=JSON).status_code == 200
    event = next(iter(store.events()))
    assert event["kind"] == kind and event["body"] == body


def test_undo_brings_the_item_back_and_keeps_the_record(store, ana):
    first = fields(ana.get("/work").text)["item"]
    vote(ana, "left 4")
    page = ana.get("/work").text
    assert fields(page)["item"] != first and "A much better" in page
    assert ana.post("/entry", data=fields(page, "undo"), headers=JSON).status_code == 200
    assert fields(ana.get("/work").text)["item"] == first
    assert [event["kind"] for event in store.events()] == ["vote", "undo"]


def test_an_item_stays_through_a_reload_and_a_restart(store, ana):
    first = fields(ana.get("/work").text)
    again = fields(ana.get("/work").text)
    assert (again["item"], again["lease"]) == (first["item"], first["lease"])
    restarted = world.client_of(store)
    restarted.cookies = ana.cookies
    assert fields(restarted.get("/work").text)["lease"] == first["lease"]


def test_a_closed_page_gives_the_item_back_but_a_reload_does_not(store, ana):
    person = store.annotators()[0].id

    def close(page: str):
        view = page.split('data-view="')[1].split('"')[0]
        hidden = fields(page)
        return ana.post("/release", data={"token": hidden["token"], "view": view, "lease": hidden["lease"]}, headers=ORIGIN)

    old, new = ana.get("/work").text, ana.get("/work").text
    assert close(old).status_code == 200 and store.progress(person).current == fields(new)["lease"]
    assert close(new).status_code == 200 and store.progress(person).current is None
    assert fields(ana.get("/work").text)["item"] == fields(new)["item"]


def test_practice_says_what_was_expected(tmp_path):
    training = world.item(99, kind="training", expected="first", why="It is <b>right</b>.")
    with world.collection(tmp_path / "votes.db", [training, *[world.item(number) for number in range(3)]]) as store:
        client = signed_in(store, "ana")
        page = client.get("/work").text
        assert "Practice." in page
        reply = vote(client, "tie").json()
        assert reply["feedback"]["right"] is False and reply["feedback"]["expected"] in ("left", "right")
        assert "Practice." not in client.get("/work").text


def test_an_end_is_said(tmp_path):
    with world.collection(tmp_path / "votes.db", [world.item(1)], overlap=1) as store:
        client = signed_in(store, "ana")
        vote(client)
        assert "Thank you" in client.get("/work").text
        assert "Undo" in client.get("/mine").text


# ------------------------------------------------------------------------------------------------------ who sees what


def test_annotators_see_their_own_alone(store, ana):
    ben = signed_in(store, "ben")
    data = {**fields(ana.get("/work").text, "comment"), "text": "a secret of ana's"}
    ana.post("/entry", data=data, headers=JSON)
    assert "secret" in ana.get("/mine").text and "secret" not in ben.get("/mine").text
    for path in ("/lead", "/lead/stats", "/lead/export", "/lead/settle/1"):
        assert ben.get(path).status_code == 403, path
        assert world.client_of(store).get(path).status_code == 401, path


def test_nobody_answers_under_anothers_lease(store, ana):
    ben = signed_in(store, "ben")
    theirs = fields(ana.get("/work").text)
    stolen = {**fields(ben.get("/work").text), "item": theirs["item"], "lease": theirs["lease"]}
    data = {**stolen, "choice": "left 3", "acceptable_left": "yes", "acceptable_right": "no"}
    assert ben.post("/entry", data=data, headers=JSON).status_code == 400
    assert not list(store.events())


def test_the_page_is_blind(tmp_path):
    from data_recipes.collect.model import Answer, Item

    prompt = ({"role": "user", "content": "Which?"},)
    rows = [Item(prompt, Answer(f"first {n}", source="runs/model-one", made={"seed": 4711, "seconds": 1.25}),
                 Answer(f"second {n}", source="runs/model-two", made={"seed": 4712}), kind="gold", expected="first",
                 extra={"hidden": "in-the-row"}) for n in range(2)]  # fmt: skip
    with world.collection(tmp_path / "votes.db", [*rows, world.item(9)]) as store:
        client = signed_in(store, "ana")
        for _ in range(3):
            page = client.get("/work").text.lower()
            for word in ("model-one", "model-two", "4711", "gold", "repeat", "in-the-row", "expected\":", "swapped"):
                assert word not in page, word
            vote(client)


def test_the_lead_sees_progress_settles_and_exports(store, ana):
    ben, lead = signed_in(store, "ben"), signed_in(store, "lead")
    page = lead.get("/lead").text
    assert "nothing can be said of agreement" in page and "undefined" not in page and "0 of about 6" in page
    for client, choice in ((ana, "left 4"), (ben, "left 4")):
        for _ in range(6):
            vote(client, choice)
    page = lead.get("/lead").text
    waiting = [one["item"] for one in store.lead_overview()["disagreements"]]
    assert waiting, "two who always press the same side disagree, since sides are planned"
    assert "12 of 12" in page and f"/lead/settle/{waiting[0]}" in page and "Krippendorff" in page
    settled = lead.get(f"/lead/settle/{waiting[0]}").text
    assert "Settling" in settled and "first" not in settled.split("</header>")[0]
    data = {**fields(settled), "choice": "left 2", "acceptable_left": "yes", "acceptable_right": "no"}
    assert lead.post("/entry", data=data, headers=JSON).status_code == 200
    assert f"/lead/settle/{waiting[0]}" not in lead.get("/lead").text
    assert "Cohen" in lead.get("/lead/stats").text


def test_the_lead_takes_an_export_with_its_manifest_and_the_same_votes_give_the_same_bytes(store, ana):
    lead = signed_in(store, "lead")
    for _ in range(3):
        vote(ana, "left 4")
    one, two = (lead.get("/lead/export?to=reward&aggregate=each") for _ in range(2))
    assert one.status_code == 200 and one.content == two.content
    names = zipfile.ZipFile(BytesIO(one.content)).namelist()
    assert names == ["reward-each.jsonl", "reward-each.jsonl.manifest.json"]
    assert lead.get("/lead/export?to=../../etc").status_code == 400


def test_a_closed_list_still_takes_what_was_under_way(store, ana):
    data = {**fields(ana.get("/work").text), "choice": "left 3", "acceptable_left": "yes", "acceptable_right": "no"}
    store.set_open(None, False)
    assert ana.post("/entry", data=data, headers=JSON).status_code == 200
    assert "no item for you" in ana.get("/work").text or "Thank you" in ana.get("/work").text


def test_a_judge_has_no_link(store):
    from data_recipes.collect.web.serving import links
    from data_recipes.collect.web.settings import plan

    store.add_annotator("gpt", "judge")
    made = links(store, plan("127.0.0.1", 8765))
    assert [row["name"] for row in made] == ["lead", "ana", "ben"]
    assert all(row["link"].startswith(f"{URL}/join/") for row in made)


def test_entries_have_the_kinds_that_the_store_knows():
    from data_recipes.collect.model import ENTRY_KINDS
    from data_recipes.collect.web.requests import BODIES

    assert set(BODIES) == set(ENTRY_KINDS) and Entry("x", "vote", 1, {}).kind in BODIES
