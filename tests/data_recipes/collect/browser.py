"""A real browser for the web tests: Debian's Chromium by Selenium, and the page in a process of its own.

Tests that need it skip, with the reason, where there is no browser.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
ROOT = Path(__file__).parents[3]
needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no chromium and chromedriver here (Debian: apt-get install chromium chromium-driver)"
)
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync"
    " --no-first-run --disable-default-apps --disable-dev-shm-usage --disable-search-engine-choice-screen --mute-audio"
)


@contextlib.contextmanager
def chromium(width: int = 1280, height: int = 900, *, dark: bool = False) -> Iterator:
    """A browser with a fresh profile; its network and console are logged."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS.split(), f"--user-data-dir={profile}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        try:
            driver.set_page_load_timeout(30)
            show(driver, width, height, dark=dark)
            yield driver
        finally:
            driver.quit()


def show(driver, width: int = 1280, height: int = 900, *, dark: bool = False) -> None:
    """What the page is shown on: a size in CSS pixels (a phone below 500), and the person's colour scheme."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": width < 500})
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})


class Served:
    """`align collect serve` as a process. links: each person's. log: what it said on standard error."""

    def __init__(self, path: Path, *options: str, port: int = 0) -> None:
        command = [sys.executable, "-m", "alignment", "collect", "serve", str(path), "--port", str(port), *options]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True, env=env, cwd=path.parent)
        self.links: dict[str, str] = {}
        self.url = ""

    def read_links(self, people: int) -> Served:
        """Waits for so many links."""
        for _ in range(people):
            line = self.process.stdout.readline()
            if not line:
                raise AssertionError(f"the server ended: {self.said()}")
            name, link = re.fullmatch(r"(.+?)  (http\S+)\n", line).groups()
            self.links[name] = link
            self.url = link.partition("/join/")[0]
        return self

    def said(self) -> str:
        """Standard error so far."""
        self.log.seek(0)
        return self.log.read()

    def stop(self, *, kill: bool = False) -> int:
        """Ends the process, by SIGTERM or `kill -9`; its exit code."""
        self.process.kill() if kill else self.process.terminate()
        code = self.process.wait(30)
        self.process.stdout.close()
        return code


@contextlib.contextmanager
def served(path: Path, people: int = 3, *options: str, port: int = 0) -> Iterator[Served]:
    """The page of a collection, until the block ends. people: how many links are printed, leads among them."""
    server = Served(path, *options, port=port)
    try:
        yield server.read_links(people)
    finally:
        if server.process.poll() is None:
            server.stop()
        server.log.close()


def sign_in(driver, link: str) -> None:
    """Opens a link and presses its button, by keyboard."""
    driver.get(link)
    wait_for(driver, "return document.activeElement.tagName === 'BUTTON'")
    press(driver, "\n")
    wait_for(driver, "return location.pathname !== '/join' && !location.pathname.startsWith('/join/') && document.readyState"
             " === 'complete'")  # fmt: skip


def ready(driver) -> str:
    """Waits until the item takes keys; its page's own name."""
    wait_for(driver, "return document.body && document.body.dataset.ready === 'yes'")
    return driver.execute_script("return document.getElementById('main').dataset.view")


def wait_for(driver, script: str, seconds: float = 20.0):
    """Polls a script until it is true; returns what it returned."""
    from selenium.common.exceptions import JavascriptException, WebDriverException

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(JavascriptException, WebDriverException):  # between two pages there is no document
            if found := driver.execute_script(script):
                return found
        time.sleep(0.03)
    shown = driver.execute_script("return document.body.innerText")[:600]
    raise AssertionError(f"waited {seconds} s in vain for: {script}\n{shown}")


def press(driver, *keys: str) -> None:
    """Presses keys one after the other, wherever the focus is."""
    from selenium.webdriver import ActionChains

    ActionChains(driver, duration=0).send_keys(*keys).perform()


def answer(driver, *keys: str) -> str:
    """Presses keys that end the item and waits for the next page; its own name."""
    before = ready(driver)
    press(driver, *keys)
    wait_for(driver, f"const main = document.getElementById('main'); return main && main.dataset.view !== '{before}'")
    return before
