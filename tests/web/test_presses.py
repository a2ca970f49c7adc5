"""Whatever can be pressed on a page is pressed once, in the real browser, in both languages.

What there is to press is read from the pages as the browser shows them. Here stands only how each kind of thing is
pressed, and what has to be written before: a button that needs more than that does nothing, and so is found.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Error as PageGone

from postil.locales import say
from postil.web.rights import PAGES, place_of
from tests.web.lived import Lived, lived_at_home
from tests.web.studio import window

if TYPE_CHECKING:
    from tests.models import Build

pytestmark = [pytest.mark.full, pytest.mark.timeout(3600)]
PROJECT = "proj_pressed"
JOBS = ("paused", "queued", "running", "failed", "job_id")
FOUND = """() => {
  for (const one of document.querySelectorAll("[data-press]")) delete one.dataset.press;  // of an earlier look
  const all = document.querySelectorAll('button, [role=button], [role=radio], [role=switch], [role=combobox], ' +
    'a[download], input[type=file], input[type=range]');
  const seen = [...all].filter((one) => (one.offsetParent || one.type === 'file') && !one.disabled &&
    !one.closest('[inert], [aria-disabled=true], .q-expansion-item__toggle-icon'));
  return seen.map((one, at) => {
    one.dataset.press = at;
    const label = one.getAttribute('aria-label') || one.innerText || one.closest('label')?.innerText || one.className;
    const where = one.id.startsWith('cell-') ? 'a cell' : one.closest('.q-expansion-item__content') ? 'a field' : '';
    return {at, everywhere: !!one.closest('header'),
      kind: one.type === 'file' ? 'file' : one.type === 'range' ? 'range' : one.hasAttribute('download') ?
      'download' : one.getAttribute('role') || one.tagName.toLowerCase(), label: where || label.split('\\n')[0]};
  });
}"""
STATE = """() => JSON.stringify([location.href, document.body.innerText, window.postilCopied || '', document.cookie,
  [...document.querySelectorAll('[aria-checked], [aria-pressed], [aria-expanded], input, textarea')].map((one) =>
    [one.getAttribute('aria-checked'), one.getAttribute('aria-pressed'), one.getAttribute('aria-expanded'), one.value]),
  document.body.className])"""
COPIED = "navigator.clipboard.writeText = async (words) => { window.postilCopied = words; };"
WRITTEN = {  # what stands in a field before a button is pressed: button -> field, words
    "compare.ask": ("compare.question", "第 3 个问题"), "lines.set": ("lines.new", "shop-b"),
    "vote.invite": ("vote.invite.name", "甲"),
}  # fmt: skip
JUSTIFIED = {"model.delete": "model_on_line"}  # what the state of things refuses, and rightly


@pytest.fixture(scope="module")
def house(base: Build, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    with lived_at_home(base("llama3"), tmp_path_factory.mktemp("presses")) as made:
        yield made


class Presser:
    """Somebody who presses everything once. Each time the project is full of fresh things again."""

    project = PROJECT

    def __init__(self, house: Lived, browser: Any, lang: str) -> None:
        self._house, self._lang, self._done, self._filled = house, lang, set[tuple[str, str, str]](), 0
        self.page = window(browser, lang, accept_downloads=True).new_page()
        self.page.add_init_script(COPIED)
        self.faults: list[str] = []
        self.downloads: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        self.page.on("response", self._answered)
        self.page.on("download", lambda download: self.downloads.append(download.suggested_filename))
        self._sign_in()

    def all(self) -> list[tuple[str, str, str]]:
        """Press everything on every page that there is."""
        for path in PAGES:
            for job in JOBS if "job_id" in path else ("job_id",):
                self._all_on(path, job)
        return sorted(self._done)

    def _all_on(self, path: str, job: str) -> None:
        while True:
            self._open(path, job)
            left = [one for one in self._things() if self._name(path, one) not in self._done]
            if not left:
                return
            self._done.add(self._name(path, left[0]))
            self._press(path, left[0])

    def _things(self) -> list[dict[str, Any]]:
        """What can be pressed on the page as it stands when nothing more comes: a check that ends adds to it."""
        things: list[dict[str, Any]] = []
        while (now := self.page.evaluate(FOUND)) != things:
            things = now
            self.page.wait_for_timeout(700)
        return things

    def _name(self, path: str, one: dict[str, Any]) -> tuple[str, str, str]:
        """One of a kind is enough: of the cells, of the tiles, of the questions to be asked."""
        path = "every page" if one["everywhere"] else path
        return path, one["kind"], "a tile" if one["kind"] == "radio" else re.sub(r"\d+", "#", one["label"]).strip()

    def _press(self, path: str, one: dict[str, Any]) -> None:
        name = f"{path}: {one['kind']} “{one['label']}”"
        sys.stderr.write(f"{name}\n")  # of a failure, how far it came
        self.faults.clear()
        self.downloads.clear()
        self._write(one["label"])
        before, thing = self.page.evaluate(STATE), self.page.locator(f"[data-press='{one['at']}']")
        self._use(one["kind"], thing)
        changed = self._wait(before)
        self.page.wait_for_load_state()
        self._answer_dialog()
        self._settle()
        self.faults += self._complaints(one["label"])
        assert not self.faults, f"{name}: {self.faults}"
        assert changed, f"{name}: nothing came of it"
        if "/login" in self.page.url:
            self._sign_in()

    def _use(self, kind: str, thing: Any) -> None:
        if kind == "file":
            thing.set_input_files(self._house.sheet)
        elif kind == "range":
            thing.focus()
            thing.press("ArrowLeft")
        elif kind == "combobox":
            thing.click(force=True)
            options = self.page.locator(".q-menu .q-item[aria-selected=false]")
            if self._wait_for(options):
                options.first.click()
        else:
            thing.click()

    def _answer_dialog(self) -> None:
        """What is asked before something is done is answered with yes; what is to be written is written."""
        agree = self.page.locator(".q-dialog .main-act")
        if self._wait_for(agree, 600):
            for field in self.page.locator(".q-dialog textarea").all():
                field.fill("新的名称")
            agree.last.click()

    def _write(self, label: str) -> None:
        for button, (field, words) in WRITTEN.items():
            if say(f"web.{button}", self._lang) == label:
                self.page.get_by_label(say(f"web.{field}", self._lang)).fill(words)

    def _complaints(self, label: str) -> list[str]:
        try:
            told = self.page.locator(".q-notification.bg-negative, .q-notification--negative").all_inner_texts()
        except PageGone:  # the press has led to another page, and nothing was complained of on this one
            self.page.wait_for_load_state()
            told = []
        allowed = [code for button, code in JUSTIFIED.items() if say(f"web.{button}", self._lang) == label]
        return [words for words in told if not any(code and code in words for code in allowed)]

    def _open(self, path: str, job: str) -> None:
        self._filled += 1
        things = self._house.live(self.project, f"thing{self._filled}")
        address = re.sub(r"\{(\w+)(:path)?\}", lambda part: {**things, "job_id": things[job]}[part[1]], path)
        self.page.goto(self._house.studio + address)
        self.page.wait_for_selector("[aria-level='1']")
        self._settle()
        closed = self.page.locator(".q-expansion-item--collapsed > div > .q-item")
        for _ in range(4):  # what is folded away on the page at first
            if closed.count():
                closed.first.click()
                self.page.wait_for_timeout(400)
        for there in self.page.eval_on_selector_all("a[href^='/studio/']", "all => all.map((a) => a.pathname)"):
            place_of(there.removeprefix("/studio"))  # each link leads to a page that is in the table, and so was opened

    def _settle(self) -> None:
        """Until nothing is being worked out any more."""
        self.page.wait_for_function("() => !document.querySelector('.busy .spin')", timeout=120_000)
        self.page.wait_for_timeout(300)

    def _wait(self, before: str) -> bool:
        for _ in range(300):
            try:
                if self.downloads or self.page.evaluate(STATE) != before:
                    return True
            except PageGone:  # it has gone on to another page
                return True
            self.page.wait_for_timeout(100)
        return False

    def _wait_for(self, thing: Any, milliseconds: int = 2000) -> bool:
        for _ in range(milliseconds // 100):
            if thing.count():
                return True
            self.page.wait_for_timeout(100)
        return False

    def _answered(self, response: Any) -> None:
        if response.status >= 400:
            self.faults.append(f"{response.status} {response.url}")

    def _sign_in(self) -> None:
        self.page.goto(f"{self._house.studio}/login")
        self.page.locator("#given").fill(self._house.key(project=self.project))
        self.page.locator("button").click()
        self.page.wait_for_url(re.compile("/studio/$"))


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_everything_that_can_be_pressed_does_something(house: Lived, browser: Any, lang: str) -> None:
    presser = Presser(house, browser, lang)
    pressed = presser.all()
    presser.page.context.close()
    assert {path for path, _, _ in pressed} >= set(PAGES) - {"/jobs", "/models", "/data/{dataset_id}/xray"}
    assert len(pressed) > 60, pressed
