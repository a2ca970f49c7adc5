"""What few people do, and everybody once: a file dropped by mouse, a job that fails, versions side by side, a slider
moved by keys."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from tests.web import dirty
from tests.web.conftest import BASE
from tests.web.studio import LONG, Studio, Visitor, by

pytestmark = pytest.mark.slow
DROP = """([name, content]) => {
  const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
  const carried = new DataTransfer();
  carried.items.add(new File([bytes], name));
  const place = document.querySelector('.drop');
  for (const kind of ['dragenter', 'dragover', 'drop'])
    place.dispatchEvent(new DragEvent(kind, {dataTransfer: carried, bubbles: true, cancelable: true}));
}"""


def dropped(page: Any, file: Path) -> None:
    page.evaluate(DROP, [file.name, base64.b64encode(file.read_bytes()).decode()])
    page.wait_for_url(re.compile("/studio/data/"))
    page.wait_for_selector("#rows td")


def test_a_file_is_dropped_mended_and_its_versions_are_compared(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.go("/new")
    dropped(page, dirty.titles(tmp_path / "标题.xlsx"))
    first = page.url
    page.locator("#rows td[role=button]").nth(3).click()  # the first row below the header
    page.locator(".q-dialog textarea").fill("另一个名称")
    page.get_by_role("button", name=re.compile("Keep the change|保存修改")).click()
    page.wait_for_function("first => location.href !== first", arg=first)
    page.goto(f"{page.url.split('?')[0]}/versions")
    expect(page.locator("main")).to_contain_text("另一个名称")
    expect(page.locator("table")).to_have_count(2)


def ordered(studio: Studio, lines: list[dict[str, Any]], **hyper: Any) -> str:
    """A job by the API, as a program orders it."""
    ask = httpx.Client(base_url=studio.url.removesuffix("/studio") + "/v1", timeout=60,
                       headers={"Authorization": f"Bearer {studio.key}"})  # fmt: skip
    with ask:
        text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
        file = ask.post("/files", data={"purpose": "fine-tune"}, files={"file": ("rows.jsonl", text.encode())}).json()
        told = {"model": BASE, "training_file": file["id"], "hyperparameters": hyper}
        return str(ask.post("/fine_tuning/jobs", json=told).raise_for_status().json()["id"])


def row(number: int) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": f"第 {number} 个问题"},
            {"role": "assistant", "content": f"答 {number}"},
        ]
    }


def test_a_job_that_failed_says_why_before_all_else(visitor: Visitor, studio: Studio) -> None:
    job = ordered(studio, [row(number) for number in range(4)])
    page = visitor.go(f"/jobs/{job}")
    alert = page.get_by_role("alert").first
    expect(alert).to_contain_text("too_few_examples")
    words = alert.inner_text()
    assert "4" in words and len(words) > 60  # the cause with its number, and what to do
    log = page.get_by_text(re.compile("^(Log|日志)$")).first
    assert not log.count() or alert.bounding_box()["y"] < log.bounding_box()["y"]
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@by("zh")
def test_the_strength_is_turned_by_keys(visitor: Visitor, studio: Studio) -> None:
    job = ordered(studio, [row(number) for number in range(40)], n_epochs=1)
    page = visitor.go(f"/jobs/{job}")
    expect(page.locator(".chip", has_text=re.compile("^(done|已完成)$"))).to_be_visible(timeout=LONG)
    page.get_by_role("button", name=re.compile("Try it|试一试")).click()
    page.wait_for_url(re.compile("/compare"))
    slider = page.get_by_role("slider")
    slider.focus()
    for _ in range(3):
        slider.press("ArrowLeft")
    expect(page.locator("main")).to_contain_text("0.7")
    slider.press("Home")
    expect(page.locator("main")).to_contain_text(re.compile("(learned: |强度：)0.0"))
    page.locator("textarea").first.fill("第 3 个问题")
    page.locator("textarea").first.press("Control+Enter")
    answers = page.locator(".side .card .answer")
    expect(page.get_by_role("button", name=re.compile("Correct this|纠正"))).to_be_visible()
    assert not answers.count() or answers.first.inner_text() == answers.last.inner_text()  # at 0 it is the base
