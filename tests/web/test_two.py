"""Two at one data set, and buttons under a finger: in a real browser, as people meet them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from postil.store import LOCAL, Store
from tests.web import dirty
from tests.web.studio import Studio, Visitor
from tests.web.test_pages import upload

pytestmark = pytest.mark.full
KEEP = re.compile("Keep the change|保存修改")


def put_right(page: Any, cell: str, words: str) -> None:
    page.locator(f"#cell-{cell}").click()
    page.locator(".q-dialog textarea").fill(words)
    page.get_by_role("button", name=KEEP).click()


def edits(studio: Studio) -> dict[str, str]:
    """What the newest version of the newest data set has put right."""
    store = Store(studio.data)
    try:
        return dict(store.datasets.list(LOCAL, limit=1).rows[0].reading.get("edits") or {})
    finally:
        store.close()


@pytest.fixture
def second(visitor: Visitor) -> Any:
    """Another tab of the same person, or a colleague."""
    page = visitor.context.new_page()
    yield page
    page.close()


def opened(visitor: Visitor, second: Any, tmp_path: Path) -> Any:
    """One data set in two tabs, both ready."""
    page = visitor.go("/new")
    upload(page, dirty.titles(tmp_path / "标题.xlsx"))
    page.wait_for_url(re.compile("/studio/data/"))
    expect(page.locator(".gauge")).to_be_visible()
    second.goto(page.url)
    expect(second.locator(".gauge")).to_be_visible()
    return page


def test_two_tabs_lose_nothing_of_each_other(visitor: Visitor, second: Any, studio: Studio, tmp_path: Path) -> None:
    page = opened(visitor, second, tmp_path)
    first = page.url
    put_right(page, "B3", "第一个人的")
    page.wait_for_function("first => location.href !== first", arg=first)
    put_right(second, "B4", "第二个人的")
    expect(second.get_by_role("alert")).to_be_visible()
    expect(second.locator("#cell-B4")).to_have_text("第二个人的")
    expect(second.get_by_role("button", name=re.compile("^Next|下一步")).first).to_be_disabled()
    assert edits(studio) == {"B3": "第一个人的"}
    second.get_by_role("button", name=re.compile("Put mine on top|放到第")).click()
    expect(second.get_by_role("alert")).to_have_count(0)
    expect(second.locator("#cell-B3")).to_have_text("第一个人的")
    assert edits(studio) == {"B3": "第一个人的", "B4": "第二个人的"}
    load = page.get_by_role("button", name=re.compile("^(Load version 3|载入第 3 版)$"))
    load.click()
    expect(page.locator("#cell-B4")).to_have_text("第二个人的")


def test_mine_can_be_kept_as_a_data_set_of_its_own(
    visitor: Visitor, second: Any, studio: Studio, tmp_path: Path
) -> None:
    page = opened(visitor, second, tmp_path)
    first = page.url
    put_right(page, "B3", "他们的")
    page.wait_for_function("first => location.href !== first", arg=first)
    put_right(second, "B3", "我的")
    expect(second.get_by_role("alert")).to_contain_text("B3")
    second.get_by_role("button", name=re.compile("of its own|另存为")).click()
    second.wait_for_url(lambda url: url != first)
    expect(second.locator("#cell-B3")).to_have_text("我的")
    assert edits(studio) == {"B3": "我的"}


def test_an_upload_stops_when_its_button_is_pressed(visitor: Visitor, studio: Studio, tmp_path: Path) -> None:
    """The file goes through a thin line, so that the button has to be pressed while the bar moves."""
    page = visitor.go("/new")
    thin = page.context.new_cdp_session(page)
    thin.send("Network.enable")
    thin.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 200_000},
    )
    large = tmp_path / "large.csv"
    large.write_text("q,a\n" + "问题,答案\n" * 1_000_000, "utf-8")
    page.locator("input[type=file]").first.set_input_files(large)
    stop = page.get_by_role("button", name=re.compile("Stop the upload|停止上传"))
    expect(stop).to_be_visible()
    page.evaluate("window.stopButton = [...document.querySelectorAll('.drop button')].at(-1)")
    page.wait_for_function("() => Number(document.querySelector('[role=progressbar]')?.ariaValueNow) >= 5")
    assert page.evaluate("window.stopButton.isConnected"), "the button is the one that stood there before"
    stop.click()
    expect(page.locator(".drop")).to_contain_text(re.compile("was stopped|已停止上传"))
    expect(page.get_by_role("progressbar")).to_have_count(0)
    store = Store(studio.data)
    assert "large.csv" not in [row.filename for row in store.files.list(LOCAL).rows]
    store.close()


def test_a_picture_is_refused_where_it_is_dropped(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.go("/new")
    foreign = (
        ("照片.xlsx", b"\x89PNG\r\n\x1a\n" + bytes(60), "picture|图片"),
        ("a.csv", b"%PDF-1.7\n", "PDF"),
        ("x.json", b"MZ\x90\0" + bytes(60), "program|程序"),
    )
    for name, content, words in foreign:
        file = tmp_path / name
        file.write_bytes(content)
        upload(page, file)
        expect(page.get_by_role("alert")).to_contain_text(re.compile(words))
        assert page.url.endswith("/new")


def test_what_came_in_goes_again(visitor: Visitor, studio: Studio, tmp_path: Path) -> None:
    """A data set, then its file; the file alone is refused, with what uses it."""
    page = visitor.go("/new")
    upload(page, dirty.titles(tmp_path / f"weg-{visitor.page.evaluate('navigator.language')}.xlsx"))
    page.wait_for_url(re.compile("/studio/data/"))
    name = next(tmp_path.iterdir()).name
    page = visitor.go("/data")
    delete = re.compile("^(Delete|删除)$")
    sure = page.get_by_role("button", name=re.compile("^(Yes|是的?|确定)$"))
    file = page.locator("tr", has=page.locator("a[href*='/files/']", has_text=name))
    file.get_by_role("button", name=delete).click()
    sure.click()
    expect(page.locator(".q-notification")).to_contain_text("file_in_dataset")
    dataset = page.locator("a[href*='/studio/data/']", has_text=name)
    page.locator("tr", has=dataset).get_by_role("button", name=delete).click()
    sure.click()
    expect(dataset).to_have_count(0)
    file.get_by_role("button", name=delete).click()
    sure.click()
    expect(page.locator("a[href*='/files/']", has_text=name)).to_have_count(0)


def test_the_list_of_jobs_moves_by_itself(visitor: Visitor, studio: Studio, tmp_path: Path) -> None:
    from postil.store.tables import Job
    from tests.web.test_corners import ordered, row

    job = ordered(studio, [row(number) for number in range(4)])  # it fails soon: too few rows
    page = visitor.go("/jobs")
    line = page.locator("tr", has=page.locator(f"a[href$='{job}']"))
    expect(line.locator(".chip")).to_have_text(re.compile("failed|失败|出错"))
    page.evaluate("id => { window.linkSeen = document.querySelector(`a[href$='${id}']`); }", job)
    store = Store(studio.data)
    with store.database.write() as session:
        session.query(Job).filter_by(id=job).update({"status": "succeeded"})
    store.close()
    expect(line.locator(".chip")).to_have_text(re.compile("done|已完成"))
    expect(line).to_contain_text("100 %")
    assert page.evaluate("window.linkSeen.isConnected"), json.dumps(job)
