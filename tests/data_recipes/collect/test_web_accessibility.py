"""Labels, focus, contrast: axe-core in a real browser where both are there, and checks of our own."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path

import pytest

from data_recipes.collect.web.pages import FOLDER
from tests.data_recipes.collect import web_world as world
from tests.data_recipes.collect.browser import (
    ROOT,
    chromium,
    needs_browser,
    press,
    ready,
    served,
    show,
    sign_in,
    wait_for,
)

AXE = Path(os.environ.get("AXE_CORE", ROOT / "build" / "axe-core" / "package" / "axe.min.js"))
needs_axe = pytest.mark.skipif(not AXE.is_file(), reason=f"no axe-core at {AXE} (npm pack axe-core; .ci/run fetches it)")
BLOCKS = ("# Title", "Text with `code`, a [link](https://a.example) and **more**.", "| a | b |\n|---|---|\n| 1 | 2 |",
          "```\nx\n```", "> said")  # fmt: skip
MARKDOWN = "\n\n".join(BLOCKS)
RUN = """
const done = arguments[0];
axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})
  .then((found) => done(found.violations.map((v) => `${v.id}: ${v.nodes.slice(0, 3).map((n) => n.html).join(' | ')}`)))
  .catch((error) => done([String(error)]));
"""


# ------------------------------------------------------------------------------------------------------------ contrast


def colours() -> dict[str, dict[str, str]]:
    """The colours of both schemes, by name."""
    css = (FOLDER / "static" / "page.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[:2]
    light, dark = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in blocks)
    return {"light": light, "dark": {**light, **dark}}


def contrast(one: str, other: str) -> float:
    """WCAG 2.2's contrast ratio of two colours, 1 to 21."""
    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_ratio_is_wcags():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast_on_all_that_lies_below_it(scheme):
    found = colours()[scheme]
    pairs = [*itertools.product(("ink", "soft-ink"), ("paper", "card", "wash")), ("ink", "note"), ("ink", "mark"),
             ("ink", "accent-wash"), ("soft-ink", "accent-wash"), ("on-accent", "accent"), ("accent", "paper"),
             ("accent", "card")]  # fmt: skip
    weak = {pair: round(contrast(*(found[name] for name in pair)), 2) for pair in pairs}
    assert not {pair: ratio for pair, ratio in weak.items() if ratio < 4.5}
    assert all(contrast(found["edge"], found[below]) >= 3 for below in ("paper", "card"))


# -------------------------------------------------------------------------------------------------------- in the browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A collection in use, served, and a browser."""
    path = tmp_path_factory.mktemp("access") / "votes.db"
    messages = "A question with a list:\n\n1. one\n2. two"
    rows = [world.item(n, prompt=messages, first=f"{n}\n\n{MARKDOWN}", second=f"Other {n}") for n in range(5)]
    with world.collection(path, rows) as store:
        for name in ("ana", "ben"):
            client = world.signed_in(store, name)
            for choice in ("left 3", "right 2", "tie"):
                world.vote(client, choice)
            page = client.get("/work").text
            data = {**world.fields(page, "flag"), "reason": "a reason"}
            assert client.post("/entry", data=data, headers=world.ORIGIN).status_code == 303
    with served(path, 3) as server, chromium() as driver:
        yield server, driver


@needs_browser
@needs_axe
@pytest.mark.parametrize("scheme", ["dark", pytest.param("light", marks=pytest.mark.slow)])
def test_axe_finds_nothing_on_any_page_nor_in_any_box(pages, scheme):
    server, driver = pages
    driver.set_script_timeout(60)
    show(driver, *((390, 844) if scheme == "dark" else (1280, 900)), dark=scheme == "dark")
    driver.get(server.links["ana"])
    found = {"join": axe(driver)}
    sign_in(driver, server.links["ana"])
    ready(driver)
    found["work"] = axe(driver)
    for key in "?cefxrd2":
        press(driver, key)
        found[f"work {key}"] = axe(driver)
        if key not in "d2":
            press(driver, "\ue00c")
            wait_for(driver, "return !document.querySelector('dialog[open]')")
    for path in ("/mine", "/guidelines", "/nothing"):
        driver.get(server.url + path)
        found[path] = axe(driver)
    sign_in(driver, server.links["lead"])
    for path in ("/lead", "/lead/stats"):
        driver.get(server.url + path)
        found[path] = axe(driver)
    assert not {name: faults for name, faults in found.items() if faults}


def axe(driver) -> list[str]:
    """The faults of the page as it is now."""
    driver.execute_script(AXE.read_text(encoding="utf-8"))
    return driver.execute_async_script(RUN)


NAMES = """
const named = (node) => node.getAttribute('aria-label') || node.textContent.trim()
  || [...(node.labels || [])].map((label) => label.textContent.trim()).join('');
return [...document.querySelectorAll('button, a, input:not([type=hidden]), textarea, select')].filter((node) => !named(node))
  .map((node) => node.outerHTML);
"""
STEP = """
const node = document.activeElement, box = node.getBoundingClientRect(), bar = document.querySelector('.bar');
const style = getComputedStyle(node);
const top = document.elementFromPoint(box.x + Math.min(box.width, 20) / 2, box.y + Math.min(box.height, 20) / 2);
const order = [...document.querySelectorAll('*')].indexOf(node);
return {order, tag: node.tagName, outline: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
  seen: node === document.body || Boolean(top && (top === node || node.contains(top) || top.contains(node)))};
"""


@needs_browser
def test_everything_has_a_name_and_the_focus_goes_through_the_page_in_order(pages):
    server, driver = pages
    show(driver)
    sign_in(driver, server.links["ana"])
    ready(driver)
    assert driver.execute_script(NAMES) == []
    assert driver.execute_script("return [...document.querySelectorAll('[tabindex]')].every((node) => node.tabIndex <= 0)")
    steps = []
    for _ in range(60):
        press(driver, "\ue004")
        steps.append(driver.execute_script(STEP))
        if steps[-1]["tag"] in ("BODY", "HTML") or len(steps) > 1 and steps[-1]["order"] <= steps[-2]["order"]:
            break
    inside = steps[:-1]
    assert len(inside) > 25 and [step["order"] for step in inside] == sorted(step["order"] for step in inside)
    assert all(step["outline"] for step in inside), [step for step in inside if not step["outline"]]
    assert all(step["seen"] for step in inside), [step for step in inside if not step["seen"]]


@needs_browser
def test_the_focus_returns_from_a_box_and_stays_inside_while_it_is_open(pages):
    server, driver = pages
    show(driver)
    sign_in(driver, server.links["ana"])
    ready(driver)
    driver.execute_script("document.querySelector('[data-action=comment]').focus()")
    press(driver, "\ue007")
    for _ in range(8):
        press(driver, "\ue004")
        assert driver.execute_script("const n = document.activeElement; return n === document.body || !!n.closest('dialog')")
    press(driver, "\ue00c")
    wait_for(driver, "return document.activeElement.dataset.action === 'comment'")
