"""axe-core on every page, light and dark: no serious finding."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.web.studio import Studio, Visitor
from tests.web.test_pages import EMPTY

pytestmark = pytest.mark.slow
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
SERIOUS = ("serious", "critical")
LOOKS = [("en", "light"), ("zh", "dark")]
OTHERS = [pytest.param(*look, marks=pytest.mark.full) for look in (("zh", "light"), ("en", "dark"))]


@pytest.mark.parametrize(("lang", "look"), [*LOOKS, *OTHERS])
def test_no_serious_finding(studio: Studio, browser: Any, lang: str, look: str) -> None:
    visitor, found = Visitor(browser, studio, lang=lang, dark=look == "dark"), {}
    page = visitor.go("/new")
    page.locator("main .plain-act").first.click()  # the first sample
    page.wait_for_url(re.compile("/studio/data/"))
    page.wait_for_selector("#rows td")
    data = page.url.partition("/studio")[2]
    for path in (*EMPTY, data, f"{data}/plan", f"{data}/versions"):
        page = visitor.go(path)
        page.wait_for_selector("table tbody tr, .drop, .card")
        if path.startswith(data):
            page.wait_for_selector("table tbody tr")
        page.wait_for_timeout(300)
        faults = [one for one in axe.Axe().run(page).response["violations"] if one["impact"] in SERIOUS]
        found[path] = [(one["id"], [node["target"] for node in one["nodes"]][:3]) for one in faults]
    visitor.close()
    assert not any(found.values()), {path: faults for path, faults in found.items() if faults}
