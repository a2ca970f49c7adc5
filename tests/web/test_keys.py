"""A key at the page: made, seen once, used at once, rotated, revoked; and the page that says who did all that."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from tests.web.studio import Studio, Visitor, window

pytestmark = pytest.mark.full


def make(page: Any, name: str) -> str:
    """A key for reading and asking. Returns its secret, as the page shows it this once."""
    page.get_by_label(re.compile("What it is for|用途")).fill(name)
    page.get_by_role("checkbox", name=re.compile("^(Train|训练)")).click()
    page.get_by_role("button", name=re.compile("^(Make the key|创建)$")).click()
    return seen(page)


def seen(page: Any) -> str:
    shown = page.locator(".key-secret")
    expect(shown).to_be_visible()
    secret = str(shown.inner_text())
    page.get_by_role("button", name=re.compile("I have kept it|我已保存")).click()
    expect(shown).to_have_count(0)
    return secret


def opens(studio: Studio, secret: str) -> int:
    root = studio.url.removesuffix("/studio")
    return httpx.get(f"{root}/v1/models", headers={"authorization": f"Bearer {secret}"}, timeout=20).status_code


def row(page: Any, name: str) -> Any:
    return page.locator("tbody tr", has_text=name)


def test_a_key_is_made_seen_once_rotated_and_revoked(visitor: Visitor, studio: Studio) -> None:
    page = visitor.go("/")
    page.get_by_role("button", name=re.compile("^(Keys and|密钥与)")).click()
    page.wait_for_url(re.compile("/studio/keys"))
    name = f"机器人 <b>{id(visitor)}</b>"
    first = make(page, name)
    expect(row(page, name)).to_be_visible()
    assert first.startswith("sk-postil-") and opens(studio, first) == 200
    assert first not in page.content()
    row(page, name).get_by_role("button", name=re.compile("New secret|更换")).click()
    page.get_by_role("button", name=re.compile("^(Yes|是|确定)")).click()
    second = seen(page)
    expect(row(page, name)).to_be_visible()
    assert (opens(studio, first), opens(studio, second)) == (401, 200)
    row(page, name).get_by_role("button", name=re.compile("^(Revoke|吊销)$")).click()
    page.locator(".q-dialog").get_by_role("button", name=re.compile("^(Revoke|吊销)$")).click()
    expect(row(page, name).locator(".chip.bad")).to_be_visible()
    assert opens(studio, second) == 401
    page.get_by_role("link", name=re.compile("What was done|操作记录")).click()
    page.wait_for_url(re.compile("/studio/audit"))
    acts = [line.locator("td").nth(2).inner_text() for line in row(page, name).all()]
    words = ("revoked|吊销", "another secret|更换", "made a key|新建")
    assert all(re.search(word, act) for word, act in zip(words, acts, strict=True)), acts
    assert page.locator("main b").count() == 0
    assert second not in page.content()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.set_viewport_size({"width": 375, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_attack_27_29_a_key_without_admin_sees_no_keys_and_its_page_ends_with_it(
    visitor: Visitor, studio: Studio, browser: Any
) -> None:
    page = visitor.go("/keys")
    name = f"reader {id(visitor)}"
    secret = make(page, name)
    other = window(browser, "en").new_page()
    other.goto(f"{studio.url}/login")
    other.locator("#given").fill(secret)
    other.locator("button").click()
    other.wait_for_url(re.compile("/studio/$"))
    expect(other.locator("h1").first).to_be_visible()
    assert other.get_by_role("button", name=re.compile("Keys and")).count() == 0
    for path in ("/keys", "/audit"):
        other.goto(studio.url + path)
        expect(other.get_by_role("alert").first).to_contain_text("scope_missing")
        assert other.locator("main table").count() == 0
    other.goto(f"{studio.url}/models")
    expect(other.locator("h1").first).to_be_visible()
    row(page, name).get_by_role("button", name=re.compile("^(Revoke|吊销)$")).click()
    page.locator(".q-dialog").get_by_role("button", name=re.compile("^(Revoke|吊销)$")).click()
    other.wait_for_url(re.compile("/login"), timeout=60_000)  # the connection goes, and the page with it
    other.goto(f"{studio.url}/models")
    other.wait_for_url(re.compile("/studio/login"))
    other.context.close()
