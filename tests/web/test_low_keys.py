"""Whoever has a key of limited rights meets no dead end: in the real browser, with each scope alone, in both languages.

What a key may not do is not there to be pressed; a page that it may not open says so, in the reader's language.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Error as BrowserError

from postil import locales
from postil.locales import LANGUAGES, say
from postil.web.rights import PAGES, needed, place_of
from tests.web.lived import Lived, lived_at_home
from tests.web.test_presses import JOBS, Presser
from tests.web.test_rights import IMPLIED

if TYPE_CHECKING:
    from tests.models import Build

pytestmark = [pytest.mark.full, pytest.mark.timeout(3600)]
LOW = ("read", "serve", "train")  # with "admin" one may do everything: that is in test_presses
TEXTS = """() => {
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), all = [];
  while (walk.nextNode()) {
    const box = walk.currentNode.parentElement;
    if (box.offsetParent && !box.closest('script, style, #popup, .q-icon, textarea'))
      all.push(walk.currentNode.data.trim());
  }
  return all.filter((words) => words);
}"""
HEARD = "all => all.filter((one) => one.offsetParent).map((one) => one.getAttribute('aria-label'))"
MACHINE = re.compile(r"(?!English|Postil)[A-Z][a-z]+\b|[a-z]+_[a-z]+$")  # English of the machinery in Chinese pages
LINKS = "all => all.filter((a) => a.offsetParent).map((a) => a.pathname)"
PAGE_FAULT = re.compile(r"Internal Server Error|Traceback|^50\d\b|\binternal\b")


@pytest.fixture(scope="module")
def house(base: Build, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    with lived_at_home(base("llama3"), tmp_path_factory.mktemp("low")) as made:
        yield made


@cache
def sentences(lang: str) -> re.Pattern[str]:
    """Whatever is said in this language and not in the other one, with anything in its gaps."""
    own, other = (json.loads((Path(locales.__file__).parent / f"{name}.json").read_text("utf-8"))
                  for name in (lang, "en" if lang == "zh" else "zh"))  # fmt: skip
    said = {words for words in own.values() if words not in other.values() and len(words) > 8}
    gaps = (re.sub(r"\\\{\w+\\\}", ".*", re.escape(words)) for words in said)
    return re.compile("|".join(words for words in gaps if len(words.replace(".*", "")) > 8), re.DOTALL)


class Low(Presser):
    """Somebody with a key of one scope, who presses whatever is there. Each thing that goes wrong is in `wrong`."""

    def __init__(self, house: Lived, browser: Any, lang: str, scope: str) -> None:
        self.scope, self.project, self.wrong, self.seen = scope, f"proj_{scope}_{lang}", list[str](), 0
        super().__init__(house, browser, lang)

    def all(self) -> list[tuple[str, str, str]]:
        for path in PAGES:
            for job in JOBS if "job_id" in path and self._may(path) else ("job_id",):
                if path != "/rate/{token}":
                    self._all_on(path, job)
        return sorted(self._done)

    def _all_on(self, path: str, job: str) -> None:
        """Press one thing after the other, and open the page anew where a press has led away or nothing is left."""
        opened = ""
        while True:
            if fresh := self.page.url != opened:
                self._open(path, job)
                opened = self.page.url
            left = [one for one in self._things() if self._name(path, one) not in self._done]
            if not left and fresh:
                return
            if left:
                self._done.add(self._name(path, left[0]))
                self._press(path, left[0])
            if not left or self.page.locator(".q-dialog, .q-menu, .q-notification").count():
                opened = ""

    @property
    def _refusals(self) -> list[str]:
        return [say("web.refused.title", lang) for lang in LANGUAGES]

    def _may(self, path: str) -> bool:
        return not needed(path) or not IMPLIED[self.scope].isdisjoint(needed(path))

    def _open(self, path: str, job: str) -> None:
        self.faults.clear()
        super()._open(path, job)
        self.seen += 1
        title = self.page.locator("[aria-level='1']").first.inner_text()
        if (title in self._refusals) == self._may(path):
            self.wrong.append(f"{path}: the title is “{title}”")
        allowed = () if self._may(path) else ("403",)
        self.wrong += [f"{path}: {one}" for one in self.faults if not one.startswith(allowed or "-")]
        self._read(path)
        for there in self.page.eval_on_selector_all("a[href^='/studio/']", LINKS):
            if not self._may(place_of(there.removeprefix("/studio"))):
                self.wrong.append(f"{path}: a link leads to {there}, which is refused")

    def _press(self, path: str, one: dict[str, Any]) -> None:
        name = f"{path}: {one['kind']} “{one['label']}”"
        try:
            super()._press(path, one)
        except (AssertionError, BrowserError) as fault:
            self.wrong.append(str(fault) if name in str(fault) else f"{name}: {fault}")
            return
        self._read(name)
        if self.page.locator("[aria-level='1']").first.inner_text() in self._refusals:
            self.wrong.append(f"{name}: it leads to a page that is refused")

    def _read(self, where: str) -> None:
        """All that stands on the page is said in the reader's language, and nothing of it is a fault of ours."""
        lang = self.page.evaluate("document.documentElement.lang")  # the page's own: one of its buttons turns it
        foreign = sentences("en" if lang.startswith("zh") else "zh")
        for words in self.page.evaluate(TEXTS):
            if foreign.fullmatch(words) or PAGE_FAULT.search(words):
                self.wrong.append(f"{where}: it says “{words}”")
            if lang.startswith("zh") and re.search(r"[A-Za-z]+( [a-z]+){3}", words):
                self.wrong.append(f"{where}: it says “{words}”")

        for words in self.page.eval_on_selector_all("[aria-label]", HEARD) if lang.startswith("zh") else ():
            if MACHINE.match(words):
                self.wrong.append(f"{where}: who cannot see it hears “{words}”")

    def _sign_in(self) -> None:
        self.page.goto(f"{self._house.studio}/login")
        self.page.locator("#given").fill(self._house.key(self.scope, project=self.project))
        self.page.locator("button").click()
        self.page.wait_for_url(re.compile("/studio/$"))


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("scope", LOW)
def test_a_key_of_one_scope_meets_no_dead_end(house: Lived, browser: Any, scope: str, lang: str) -> None:
    visitor = Low(house, browser, lang, scope)
    pressed = visitor.all()
    visitor.page.context.close()
    assert not visitor.wrong, "\n".join(dict.fromkeys(visitor.wrong))
    assert len(pressed) > 3, pressed
