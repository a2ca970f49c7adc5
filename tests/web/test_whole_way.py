"""The whole way of a shop operator, on the real demonstration model: from a dirty sheet to a model that answers."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from playwright.sync_api import expect

from postil import flow
from postil.settings import Settings
from tests.web import dirty
from tests.web.studio import Studio, Visitor, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
SMALL = "%7B%22training_rows%22%3A24%2C%22validation_rows%22%3A4%2C%22test_rows%22%3A20%2C%22n_epochs%22%3A1%7D"
MINUTES = 60_000


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    flow.fetched(flow.find_base(flow.EMBEDDED))
    with running(Settings().home, tmp_path_factory.mktemp("real")) as made:
        yield made


def test_from_a_dirty_sheet_to_a_model_that_answers(real: Studio, browser: Any, tmp_path: Path) -> None:
    visitor = Visitor(browser, real, lang="zh")
    page = visitor.go("/new")
    page.locator("input[type=file]").first.set_input_files(dirty.titles(tmp_path / "商品.xlsx"))
    page.wait_for_url(re.compile("/studio/data/"), timeout=2 * MINUTES)
    page.wait_for_selector("#rows td", timeout=2 * MINUTES)
    before = page.url
    page.locator(".main-act", has_text="全部修复").click()
    page.wait_for_function("first => location.href !== first", arg=before, timeout=2 * MINUTES)
    page.get_by_role("button", name="下一页").click()  # the rows that stood twice are among the last
    page.wait_for_selector("#rows tr.unused", timeout=2 * MINUTES)
    data = page.url.partition("/studio")[2]
    page = visitor.go(f"{data}/plan?preset=quick_try&settings={SMALL}")
    start = page.get_by_role("button", name="开始训练", exact=True)
    expect(start).to_be_enabled(timeout=3 * MINUTES)
    page.get_by_label(re.compile("模型名称")).fill("短标题")
    start.click()
    page.wait_for_url(re.compile("/jobs/"))
    job = page.url.partition("/studio")[2]

    # it runs; the page is refreshed, the server killed and started again, another browser looks: the same job
    expect(page.locator(".chip", has_text="运行中")).to_be_visible(timeout=10 * MINUTES)
    page.reload()
    expect(page.locator(".chip", has_text=re.compile("运行中|已完成"))).to_be_visible()
    real.kill()
    real.start()
    other = Visitor(browser, real, lang="en")
    there = other.go(job)
    expect(there.locator(".chip", has_text=re.compile("^(running|waiting|done)$"))).to_be_visible()
    page = visitor.go(job)
    expect(page.locator(".chip", has_text="已完成")).to_be_visible(timeout=15 * MINUTES)
    expect(there.locator(".chip", has_text=re.compile("^done$"))).to_be_visible(timeout=MINUTES)
    assert "标准答案" in page.inner_text("main")

    # before and after, on a question that training never saw
    page.get_by_role("button", name="试一试：前后对比").click()
    page.wait_for_url(re.compile("/compare"))
    page.locator("main .plain-act").first.click()
    expect(page.get_by_role("button", name="纠正这个回答")).to_be_visible(timeout=3 * MINUTES)
    page.get_by_role("button", name="纠正这个回答").click()
    page.locator(".q-dialog textarea").fill("短袖")
    page.get_by_role("button", name="保存修改").click()
    expect(page.locator(".q-notification")).to_be_visible()
    assert "短标题" in visitor.go("/models").inner_text("main") or "ft:" in page.inner_text("main")

    # people vote without knowing whose answer is whose
    page = visitor.go("/evaluations")
    page.get_by_role("button", name="发起投票").click()
    page.wait_for_url(re.compile("/votes/"))
    page.get_by_label("评审姓名").fill("甲")
    page.get_by_role("button", name="邀请").click()
    link = page.locator(".rater-link").inner_text()
    vote = browser.new_context(locale="zh-CN").new_page()
    vote.goto(link)
    text = vote.inner_text("main")
    assert "ft:" not in text and "微调" not in text
    shown = vote.inner_text("main")
    while "谢谢" not in shown:
        vote.keyboard.press("1")
        vote.wait_for_function("old => document.querySelector('main').innerText !== old", arg=shown)
        shown = vote.inner_text("main")
    page.reload()
    expect(page.locator("main")).to_contain_text("题", timeout=MINUTES)

    # it is downloaded, and called by a program
    page = visitor.go("/models")
    page.locator("main table a").first.click()
    page.wait_for_url(re.compile("/models/"))
    with page.expect_download(timeout=2 * MINUTES) as packed:
        page.get_by_role("button", name="下载适配器").click()
    with zipfile.ZipFile(packed.value.path()) as archive:
        assert {"adapter_model.safetensors", "adapter_config.json"} <= set(archive.namelist())
    on = page.get_by_role("button", name="上线", exact=True)
    if on.count():
        on.click()
        page.get_by_role("button", name="确定").click()
        expect(page.get_by_role("button", name="下线", exact=True)).to_be_visible()
    client = openai.OpenAI(base_url=real.url.replace("/studio", "/v1"), api_key=real.key, timeout=300)
    model = next(one.id for one in client.models.list() if one.id.startswith("ft:") and ":ckpt" not in one.id)
    said = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "纯棉 短袖"}], max_tokens=8
    )
    assert said.choices[0].finish_reason in ("stop", "length")
    for one in (visitor, other):
        one.close()
        assert not one.faults and not one.elsewhere


def test_a_long_sheet_is_looked_at_window_by_window(real: Studio, browser: Any, tmp_path: Path) -> None:
    visitor = Visitor(browser, real)
    page = visitor.go("/new")
    page.locator("input[type=file]").first.set_input_files(dirty.many(tmp_path / "long.xlsx"))
    page.wait_for_url(re.compile("/studio/data/"), timeout=5 * MINUTES)
    page.wait_for_selector("#rows td", timeout=5 * MINUTES)
    expect(page.locator("main")).to_contain_text(re.compile("50,?000"), timeout=5 * MINUTES)
    page.get_by_role("button", name="Rows after").click()
    expect(page.locator("#rows")).to_contain_text("order 70", timeout=MINUTES)
    visitor.close()
    assert not visitor.faults
