"""Every page, in both languages, with a tiny model: what stands on it, and that nothing in it breaks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.web import dirty
from tests.web.conftest import BASE
from tests.web.studio import LONG, Studio, Visitor, by

pytestmark = pytest.mark.slow
EMPTY = ("/", "/new", "/jobs", "/compare", "/models", "/evaluations", "/data", "/keys", "/audit")


@pytest.mark.parametrize("path", EMPTY)
def test_empty_pages_say_what_to_do(visitor: Visitor, path: str) -> None:
    page = visitor.go(path)
    assert page.locator("h1").inner_text()
    assert page.locator("main").inner_text().strip() != page.locator("h1").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_on_a_telephone_no_page_is_out_of_reach(visitor: Visitor) -> None:
    """All ways into the house stand on the screen, none behind its edge."""
    visitor.page.set_viewport_size({"width": 375, "height": 700})
    page = visitor.go("/data")
    for link in page.locator(".nav a").all():
        box = link.bounding_box()
        assert box and box["x"] >= 0 and box["x"] + box["width"] <= 375, link.inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_unknown_things_are_told_in_words(visitor: Visitor) -> None:
    for path in ("/jobs/ftjob-nothing", "/models/ft%3Anothing", "/data/dataset-nothing"):
        page = visitor.go(path)
        expect(page.get_by_role("alert").first).to_be_visible()


def upload(page: Any, file: Path) -> None:
    page.locator("input[type=file]").first.set_input_files(file)


def test_a_dirty_sheet_is_shown_and_mended(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.go("/new")
    upload(page, dirty.titles(tmp_path / "商品.xlsx"))
    page.wait_for_url(re.compile("/studio/data/"))
    page.wait_for_selector("#rows td")
    assert "商品.xlsx" in page.inner_text("main")
    first = page.url
    page.locator(".main-act", has_text=re.compile("Fix all|全部修复")).click()
    page.wait_for_function("first => location.href !== first", arg=first)
    page.wait_for_selector("#rows td")
    expect(page.locator("main")).not_to_contain_text("13812345678")
    mended = page.url
    page.locator("#rows td[role=button]").nth(1).click()
    page.locator(".q-dialog textarea").fill("新的名称")
    page.get_by_role("button", name=re.compile("Keep the change|保存修改")).click()
    expect(page.locator("#rows")).to_contain_text("新的名称")
    page.wait_for_function("mended => location.href !== mended", arg=mended)  # the address of the new version
    page.reload()
    page.wait_for_selector("#rows td.changed")
    with page.expect_download() as marked:
        page.get_by_role("button", name=re.compile("with marks|带标记")).click()
    assert marked.value.suggested_filename.endswith(".xlsx")


def test_columns_that_are_not_recognised_are_chosen_on_the_page(visitor: Visitor, tmp_path: Path) -> None:
    """A refusal that only a command line could answer would be a dead end here."""
    page = visitor.go("/new")
    upload(page, dirty.prices(tmp_path / "prices.xlsx"))
    page.wait_for_url(re.compile("/studio/data/"))
    expect(page.get_by_role("alert")).to_be_visible()
    assert "--" not in page.get_by_role("alert").inner_text()
    for role, column in (("^(Question|问题)$", "A"), ("^(Answer|回答)$", "C")):
        page.get_by_label(re.compile(role, re.I)).click()
        page.locator(".q-item", has_text=re.compile(f"^{column}")).click()
        expect(page.locator(".busy")).to_be_empty()
        expect(page.locator(".q-menu")).to_have_count(0)
    expect(page.locator(".gauge")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("^Next|下一步")).first).to_be_enabled()


def test_an_edit_is_there_before_the_check_and_the_keyboard_stays_where_it_was(
    visitor: Visitor, tmp_path: Path
) -> None:  # fmt: skip
    page = visitor.go("/new")
    upload(page, dirty.titles(tmp_path / "t.xlsx"))
    page.wait_for_url(re.compile("/studio/data/"))
    expect(page.locator(".gauge")).to_be_visible()
    page.locator("#cell-B3").focus()
    page.keyboard.press("Enter")
    page.locator(".q-dialog textarea").fill("新的名称")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#cell-B3")).to_have_text("新的名称")
    expect(page.locator("#cell-B3")).to_be_focused()
    expect(page.locator(".busy")).to_be_empty()
    expect(page.locator("#cell-B3.changed")).to_be_focused()


def test_attack_12_texts_that_would_run_are_texts(visitor: Visitor, tmp_path: Path) -> None:
    """What stands in a cell appears as it stands there, on every page that shows it."""
    page = visitor.go("/new")
    upload(page, dirty.attacks(tmp_path / "<img src=x onerror=alert(9)>.xlsx"))
    page.wait_for_url(re.compile("/studio/data/"))
    page.wait_for_selector("#rows td")
    shown = page.inner_text("#rows")
    for attack in dirty.ATTACKS:
        assert attack in shown
    assert page.locator("main img, main script, main svg").count() == 0
    page.get_by_role("button", name=re.compile("^Next|下一步")).first.click()
    page.wait_for_url(re.compile("/plan"))
    page.wait_for_timeout(500)
    assert page.locator("main img, main script").count() == 0


@by("en")
def test_a_training_is_watched_paused_and_used(visitor: Visitor, studio: Studio, tmp_path: Path) -> None:
    page = visitor.go("/new")
    upload(page, dirty.titles(tmp_path / "t.xlsx"))
    page.wait_for_url(re.compile("/studio/data/"))
    page.wait_for_selector("#rows td")
    page.get_by_role("button", name=re.compile("^Next|下一步")).first.click()
    page.get_by_role("radio", name=BASE).click()
    start = page.get_by_role("button", name=re.compile("^(Start training|开始训练)$"))
    expect(start).to_be_enabled()
    assert page.locator("table tbody tr").count() >= 9
    page.reload()
    expect(page.get_by_role("radio", name=BASE)).to_have_attribute("aria-checked", "true")
    expect(start).to_be_enabled()
    start.click()
    page.wait_for_url(re.compile("/jobs/"))
    expect(page.locator(".chip", has_text=re.compile("^(done|已完成)$"))).to_be_visible(timeout=LONG)
    page.get_by_role("button", name=re.compile("Try it|试一试")).click()
    page.wait_for_url(re.compile("/compare"))
    page.locator("textarea").first.fill("纯棉 短袖")
    page.get_by_role("button", name=re.compile("^(Ask|提问)$")).click()
    expect(page.get_by_role("button", name=re.compile("Correct this|纠正"))).to_be_visible()
    page.get_by_role("button", name=re.compile("Good answer|回答得好")).click()
    expect(page.locator(".q-notification")).to_be_visible()
