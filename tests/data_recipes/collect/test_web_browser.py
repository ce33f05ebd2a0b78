"""The page in Debian's Chromium: a whole job by keyboard alone, a server that dies and comes back, hostile texts."""

from __future__ import annotations

import json
import time

import pytest

from data_recipes.collect.store import Store
from tests.data_recipes.collect import web_world as world
from tests.data_recipes.collect.browser import (
    Served,
    answer,
    chromium,
    needs_browser,
    press,
    ready,
    served,
    show,
    sign_in,
    wait_for,
)
from tests.data_recipes.collect.hostile import PAYLOADS, hostile_items

pytestmark = needs_browser
CTRL, ENTER, ESCAPE, TAB, RIGHT, DOWN, SPACE = "\ue009", "\ue007", "\ue00c", "\ue004", "\ue014", "\ue015", " "


@pytest.fixture(scope="module")
def driver():
    with chromium() as made:
        yield made


@pytest.fixture
def browser(driver):
    """The one browser, with nobody signed in and nothing kept."""
    driver.get("about:blank")
    driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
    for kind in ("performance", "browser"):
        driver.get_log(kind)
    return driver


def make(tmp_path, count: int = 12, **other):
    """A collection for one person, closed again: the server opens it."""
    path = tmp_path / "votes.db"
    items = other.pop("items", None) or [world.item(number) for number in range(count)]
    world.collection(path, items, people=("ana",), overlap=1, **other).close()
    return path


def events(path) -> list[dict]:
    with Store.open(path) as store:
        return list(store.events())


def item_of(driver) -> str:
    return driver.execute_script("return document.querySelector('#vote [name=item]').value")


def ctrl_enter(driver) -> None:
    from selenium.webdriver import ActionChains

    ActionChains(driver, duration=0).key_down(CTRL).send_keys(ENTER).key_up(CTRL).perform()


# ------------------------------------------------------------------------------------------------------------- a whole job


def test_a_whole_job_by_keyboard_alone(browser, tmp_path):
    path = make(tmp_path, 16)
    with served(path, 2) as server:
        sign_in(browser, server.links["ana"])
        for keys in ("1al", "2la", "3sk", "4sl", "5ak", "al6", "ks7", "8sk", "0al", "b", "g"):
            answer(browser, *keys)
        undo_and_answer_again(browser)
        edit_and_comment(browser)
        skip_and_flag(browser)
        close_and_come_back(browser, server)
        finish(browser)
    check(path)


def undo_and_answer_again(browser) -> None:
    """`u` brings the last item back; another answer is given."""
    answer(browser, "1", "a", "k")
    later = item_of(browser)
    answer(browser, "u")
    assert item_of(browser) != later
    answer(browser, "8", "s", "l")


def edit_and_comment(browser) -> None:
    """`e`: choose a side, change the text; `c`: write; both while the keys are dead. The item stays until it is answered."""
    before = item_of(browser)
    ready(browser)
    press(browser, "e", SPACE, RIGHT, TAB)
    start = browser.execute_script("return document.querySelector('#edit-box textarea').value")
    assert start == browser.execute_script("return document.getElementById('right-text').textContent")
    press(browser, "1234 bgxu edited. ")
    ctrl_enter(browser)
    wait_for(browser, "return document.getElementById('said').textContent === 'Edited answer saved.'")
    press(browser, "c", "0 b g x f u e: only words", TAB, ENTER)
    wait_for(browser, "return document.getElementById('said').textContent === 'Comment saved.'")
    assert item_of(browser) == before
    answer(browser, "7", "s", "l")


def skip_and_flag(browser) -> None:
    ready(browser)
    press(browser, "x")
    assert not browser.execute_script("return document.querySelector('dialog[open] :checked')")  # no reason that nobody gave
    answer(browser, TAB, DOWN, TAB, ENTER)
    ready(browser)
    press(browser, "f")
    answer(browser, "looks private", ENTER)


def close_and_come_back(browser, server) -> None:
    """The page is closed, which gives the item back; opened again, it is the same one, seconds and all."""
    ready(browser)
    where = item_of(browser)
    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    second = browser.current_window_handle
    browser.switch_to.window(first)
    browser.close()
    browser.switch_to.window(second)
    browser.get(server.url + "/work")
    ready(browser)
    assert item_of(browser) == where


def finish(browser) -> None:
    while browser.execute_script("return Boolean(document.getElementById('vote'))"):
        ready(browser)
        press(browser, "t", SPACE)
        before = browser.execute_script("return document.getElementById('main').dataset.view")
        press(browser, "0", "a", "l")
        wait_for(browser, f"const main = document.getElementById('main'); return main && main.dataset.view !== '{before}'")
    assert "Thank you" in browser.page_source


def check(path) -> None:
    """What the file holds is what the keys said."""
    found = events(path)
    bodies = [(event["body"]["choice"], event["body"]["strength"]) for event in found if event["kind"] == "vote"]
    strengths = [("left", 4), ("left", 3), ("left", 2), ("left", 1), ("right", 1), ("right", 2), ("right", 3), ("right", 4)]
    assert bodies[:12] == [*strengths, ("tie", None), ("both_bad", None), ("both_good", None), ("left", 4)]
    assert bodies[12:14] == [("right", 4), ("right", 3)] and set(bodies[14:]) == {("tie", None)}
    first = next(event["body"] for event in found if event["kind"] == "vote")
    assert first["acceptable"] == {"left": True, "right": True}
    other = {event["kind"]: event["body"] for event in found if event["kind"] != "vote"}
    assert other["edit"]["side"] == "right" and "1234 bgxu edited. " in other["edit"]["text"]
    assert other["comment"]["text"] == "0 b g x f u e: only words"
    assert other["skip"]["reason"] == "The question makes no sense" and other["flag"]["reason"] == "looks private"
    assert [event["kind"] for event in found].count("undo") == 1
    assert found[-1]["body"]["tags"] == ["correct"] and all(event["visible_ms"] > 0 for event in found)
    assert len({event["item"] for event in found}) == 16


def test_a_vote_is_one_key_unless_more_is_asked_for(browser, tmp_path):
    path = make(tmp_path, 6, acceptable=False)
    with served(path, 2) as server:
        sign_in(browser, server.links["ana"])
        for key in "18bg0":
            answer(browser, key)
        ready(browser)
        assert "acceptable" not in browser.execute_script("return document.querySelector('.keys').textContent")
    said = [event["body"]["acceptable"] for event in events(path)]
    both = [dict.fromkeys(("left", "right"), meant) for meant in (False, True)]
    assert said == [None, None, *both, None]


def test_a_folded_answer_is_unfolded_at_its_fade_and_an_edit_starts_from_the_better_one(browser, tmp_path):
    path = make(tmp_path, items=[world.item(0, first="A line.\n\n" * 200, second="Short.")])
    with served(path, 2) as server:
        sign_in(browser, server.links["ana"])
        ready(browser)
        shown = browser.execute_script("return [...document.querySelectorAll('.more')].filter((b) => b.offsetHeight).length")
        assert shown == 1
        browser.execute_script("[...document.querySelectorAll('.more')].find((b) => b.offsetHeight).click()")
        assert not browser.execute_script("return document.querySelector('.folded')")
        press(browser, "8", "e")
        assert browser.execute_script("return document.querySelector('#edit-box :checked').value") == "right"
        assert browser.execute_script("return document.activeElement.value").strip() == "Short."


# --------------------------------------------------------------------------------------------------------------- the keys


def test_keys_are_matched_on_azerty_and_can_be_changed(browser, tmp_path):
    path = make(tmp_path, 4)
    with served(path, 2) as server:
        sign_in(browser, server.links["ana"])
        azerty(browser, "&", "Digit1")
        answer(browser, "a", "l")
        ready(browser)
        press(browser, "?", ENTER, "z", ESCAPE)  # the first button: much better, left
        wait_for(browser, "return !document.querySelector('dialog[open]')")
        assert browser.execute_script("return document.querySelector('[data-action=left_4] kbd').textContent") == "Z"
        answer(browser, "z", "s", "k")
        ready(browser)
        press(browser, "1")  # has no meaning now
        assert browser.execute_script("return document.querySelectorAll('.chosen').length") == 0
    bodies = [event["body"] for event in events(path)]
    assert [(body["choice"], body["strength"], body["acceptable"]["left"]) for body in bodies] == [
        ("left", 4, True), ("left", 4, False)]  # fmt: skip


def azerty(browser, key: str, code: str) -> None:
    """A key press as a French keyboard sends it: the sign typed, and the place of the key."""
    ready(browser)
    for kind in ("keyDown", "keyUp"):
        browser.execute_cdp_cmd("Input.dispatchKeyEvent", {"type": kind, "key": key, "code": code, "text": key})


def test_modifiers_repeats_and_closed_boxes_are_no_votes(browser, tmp_path):
    from selenium.webdriver import ActionChains

    path = make(tmp_path, 3)
    with served(path, 2) as server:
        sign_in(browser, server.links["ana"])
        ready(browser)
        for modifier in (CTRL, "\ue00a"):
            ActionChains(browser, duration=0).key_down(modifier).send_keys("b").key_up(modifier).perform()
        press(browser, "r", "b", "g", ESCAPE)
        browser.execute_cdp_cmd("Input.dispatchKeyEvent", {"type": "keyDown", "key": "b", "code": "KeyB", "autoRepeat": True})
        time.sleep(0.3)
        assert not events(path)
        answer(browser, "b")
    assert len(events(path)) == 1


# ------------------------------------------------------------------------------------------------- a server that dies


def test_a_vote_waits_for_a_server_that_was_killed_and_counts_once(browser, tmp_path):
    path = make(tmp_path, 3)
    server = Served(path).read_links(2)
    port = int(server.url.rpartition(":")[2])
    sign_in(browser, server.links["ana"])
    before = ready(browser)
    server.stop(kill=True)
    press(browser, "b")
    wait_for(browser, "return document.getElementById('said').textContent.startsWith('Not saved yet')")
    press(browser, "g", "b")  # dead meanwhile
    with served(path, 2, port=port):
        wait_for(browser, f"const main = document.getElementById('main'); return main && main.dataset.view !== '{before}'")
    found = events(path)
    assert [event["body"]["choice"] for event in found] == ["both_bad"]


# ----------------------------------------------------------------------------------------------------------- hostile texts

EVENTS = """
for (const node of document.querySelectorAll('.prose, .prose *, .entries *, bdi')) {
  for (const name of ['mouseover', 'mouseenter', 'pointerenter', 'click', 'focus', 'animationstart', 'toggle', 'error', 'load'])
    node.dispatchEvent(new Event(name, {bubbles: true}));
}
return [window.hit === undefined, location.pathname, document.querySelectorAll('.prose a, .prose img, .prose [style]').length]
"""
OURS = ("about:", "chrome:", "chrome-extension:", "devtools:")


def test_no_hostile_text_runs_or_fetches_anything(browser, tmp_path):
    path = make(tmp_path, items=hostile_items(), guidelines="\n\n".join(PAYLOADS[:60]))
    with served(path, 2) as server:
        sign_in(browser, server.links["ana"])
        seen = 0
        while browser.execute_script("return Boolean(document.getElementById('vote'))"):
            ready(browser)
            press(browser, "d", "r")
            assert browser.execute_script(EVENTS) == [True, "/work", 0]
            press(browser, ESCAPE, "c", PAYLOADS[seen].replace("\n", " "))
            ctrl_enter(browser)
            wait_for(browser, "return document.getElementById('said').textContent === 'Comment saved.'")
            answer(browser, "b")
            seen += 1
        for path_ in ("/mine", "/guidelines"):
            browser.get(server.url + path_)
            assert browser.execute_script(EVENTS) == [True, path_, 0]
        assert seen == len(hostile_items()) > 4
        assert_only_ours(browser, server.url)
        assert not [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]


def assert_only_ours(browser, url: str) -> None:
    """No request of the whole session went anywhere but to the page's own server."""
    asked = []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.append(message["params"]["request"]["url"])
    assert len(asked) > 20
    assert not [address for address in asked if not address.startswith((url + "/", *OURS))]


def test_were_something_let_through_the_policy_would_stop_it(browser, tmp_path):
    """The second wall, alone: markup put into the page by force."""
    with served(make(tmp_path, 2), 2) as server:
        sign_in(browser, server.links["ana"])
        ready(browser)
        told = browser.execute_async_script("""
            const done = arguments[0], broken = [];
            document.addEventListener('securitypolicyviolation', (event) => broken.push(event.effectiveDirective));
            const image = new Image();
            image.src = 'http://evil.invalid/pixel.png';
            document.body.append(image);
            const node = document.createElement('button');
            try { node.setAttribute('onclick', 'window.hit = 1'); } catch (error) { broken.push('script from a string'); }
            document.body.append(node);
            node.click();
            const style = document.createElement('style');
            style.textContent = 'main { display: none }';
            document.head.append(style);
            try { document.body.innerHTML = '<p>x</p>'; } catch (error) { broken.push('markup from a string'); }
            fetch('http://evil.invalid/').catch(() => broken.push('fetch'));
            setTimeout(() => done([window.hit === undefined, broken.sort()]), 300);
        """)
        assert told[0]
        stopped = {"img-src", "style-src-elem", "connect-src", "fetch", "markup from a string", "script from a string"}
        assert stopped <= set(told[1])


# ---------------------------------------------------------------------------------------------------------------- layout


BOXES = """
const box = (id) => {
  const found = document.getElementById(id).getBoundingClientRect();
  return [found.x, found.y, found.width];
};
return [box('left-answer'), box('right-answer'), document.documentElement.scrollWidth, innerWidth];
"""


@pytest.mark.parametrize("width, height", [(1280, 860), (640, 430), (390, 844), (320, 640)])
def test_layout_at_desktop_at_200_percent_and_on_a_phone(browser, tmp_path, width, height):
    wide = "| " + " | ".join("column" for _ in range(30)) + " |\n" + "|---" * 30 + "|\n\n```\n" + "x" * 400 + "\n```\n"
    items = [world.item(n, first="long word " + "y" * 300 + "\n\n" + wide, second="short", prompt="z" * 500) for n in range(2)]
    show(browser, width, height)
    try:
        with served(make(tmp_path, items=items), 2) as server:
            sign_in(browser, server.links["ana"])
            ready(browser)
            left, right, scroll, inner = browser.execute_script(BOXES)
    finally:
        show(browser)
    assert scroll <= inner and abs(left[2] - right[2]) < 1
    assert left[1] == right[1] if width > 1000 else right[1] > left[1]


def test_long_answers_are_folded_alike_and_opened_by_a_key(browser, tmp_path):
    items = [world.item(n, first="\n\n".join(["A paragraph of some length."] * 60), second="Short.") for n in range(2)]
    with served(make(tmp_path, items=items), 2) as server:
        sign_in(browser, server.links["ana"])
        ready(browser)
        heights = "return [...document.querySelectorAll('.answer')].map((part) => part.getBoundingClientRect().height)"
        folded = browser.execute_script(heights)
        press(browser, "m")
        opened = browser.execute_script(heights)
        press(browser, "m")
        assert folded[0] == folded[1] < opened[0] == opened[1] and browser.execute_script(heights) == folded
        press(browser, "d")
        marked = browser.execute_script("return [...document.querySelectorAll('.difference mark')].map((m) => m.textContent)")
        assert "Short" in " ".join(marked)


def test_practice_feedback_is_shown_and_closed_by_enter(browser, tmp_path):
    items = [world.item(9, kind="training", expected="first", why="The first is <b>right</b>."), world.item(1)]
    path = make(tmp_path, items=items)
    with served(path, 2) as server:
        sign_in(browser, server.links["ana"])
        before = ready(browser)
        press(browser, "0", "a", "l")
        wait_for(browser, "return document.getElementById('feedback-box').open")
        told = browser.execute_script("return document.getElementById('feedback-text').textContent")
        assert told.startswith("Another answer was expected: answer ") and told.endswith("The first is <b>right</b>.")
        press(browser, ENTER)
        wait_for(browser, f"return document.getElementById('main').dataset.view !== '{before}'")
        assert "Practice." not in browser.page_source


def test_seconds_are_those_of_a_visible_page(browser, tmp_path):
    path = make(tmp_path, 2)
    with served(path, 2) as server:
        sign_in(browser, server.links["ana"])
        ready(browser)
        begun = time.monotonic()
        time.sleep(0.7)
        answer(browser, "b")
        spent = (time.monotonic() - begun) * 1000
    assert 650 <= events(path)[0]["visible_ms"] <= spent + 1500
