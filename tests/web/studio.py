"""The studio as a person starts it, in a process of its own; and the system's browser before it."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from postil.settings import for_child

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), "")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
PATIENCE, LONG = 120_000, 900_000  # ms, for a page and for a training; they only end what hangs, on a slow machine


class Studio:
    """`postil studio` on a free port. It can be killed and started again on the same port and store."""

    def __init__(self, home: Path, data: Path) -> None:
        self._home, self.data, self._port = home, data, 0
        self.process: subprocess.Popen[str] | None = None
        self.link = self.key = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/studio"

    def start(self) -> None:
        told = {**for_child(), "POSTIL_HOME": str(self._home), "POSTIL_DATA": str(self.data), "POSTIL_LANG": "en"}
        command = [sys.executable, "-m", "postil", "studio", "--no-browser", "--port", str(self._port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=told)
        said, until = "", time.monotonic() + 60
        assert self.process.stdout is not None
        while "login?token=" not in said:
            line = self.process.stdout.readline()
            said += line
            assert line, said
            assert time.monotonic() < until, said
        self.link = re.findall(r"http\S+login\?token=\S+", said)[0]
        self._port = int(re.findall(r":(\d+)/studio", self.link)[0])
        self.key = (re.findall(r"sk-postil-\S+", said) or [self.key])[0]

    def kill(self) -> None:
        """At once, as a power cut would; its workers live on."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)


@contextmanager
def running(home: Path, data: Path) -> Iterator[Studio]:
    made = Studio(home, data)
    made.start()
    try:
        yield made
    finally:
        made.stop()


@contextmanager
def chromium() -> Iterator[Any]:
    """The system's own browser."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield browser
        browser.close()


def by(lang: str) -> pytest.MarkDecorator:
    """A long way is gone by a visitor who reads `lang`; by the other one in `make test-full`."""
    other = pytest.param("en" if lang == "zh" else "zh", marks=pytest.mark.full)
    return pytest.mark.parametrize("visitor", [lang, other], indirect=True)


def window(browser: Any, lang: str, **more: Any) -> Any:
    """A browser's window with nothing in it yet, of somebody who reads `lang`."""
    made = browser.new_context(locale="zh-CN" if lang == "zh" else "en-US", **more)
    made.set_default_timeout(PATIENCE)
    return made


class Visitor:
    """Somebody at a browser, signed in. Whatever goes wrong in the page is kept in `faults`."""

    def __init__(
        self, browser: Any, studio: Studio, *, lang: str = "en", width: int = 1440, dark: bool = False
    ) -> None:  # fmt: skip
        self.context = window(browser, lang, viewport={"width": width, "height": 900},
                              color_scheme="dark" if dark else "light", accept_downloads=True)  # fmt: skip
        self.page = self.context.new_page()
        self.faults: list[str] = []
        self.elsewhere: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.faults.append(f"dialog {dialog.message}"), dialog.dismiss()))
        self.page.on("request", self._asked)
        self._studio = studio
        self.page.goto(studio.link)
        self.page.wait_for_url(re.compile(r"/studio/$"))

    def go(self, path: str) -> Any:
        self.page.goto(self._studio.url + path)
        self.page.wait_for_selector("[aria-level='1']")
        return self.page

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self._studio.url.removesuffix("/studio"), "data:", "blob:", "ws://127.0.0.1")):
            self.elsewhere.append(request.url)

    def close(self) -> None:
        self.context.close()
