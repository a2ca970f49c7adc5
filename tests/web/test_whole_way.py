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
from postil.locales import say
from postil.settings import Settings
from tests.web import dirty
from tests.web.conftest import BASE
from tests.web.studio import LONG, Studio, Visitor, by, running, window

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]
SMALL = "%7B%22training_rows%22%3A24%2C%22validation_rows%22%3A4%2C%22test_rows%22%3A20%2C%22n_epochs%22%3A1%7D"


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Studio]:
    flow.fetched(flow.find_base(flow.EMBEDDED))
    with running(Settings().home, tmp_path / "real") as made:
        yield made


@pytest.fixture(params=[("zh", "real"), ("en", "tiny"), pytest.param(("en", "real"), marks=pytest.mark.full)])
def lived_in(request: pytest.FixtureRequest) -> tuple[str, str, Studio]:
    """A language, a base model and a studio that has it."""
    lang, kind = request.param
    return (lang, flow.EMBEDDED, request.getfixturevalue("real")) if kind == "real" else (
        lang, BASE, request.getfixturevalue("studio"))  # fmt: skip


def test_from_a_dirty_sheet_to_a_model_that_answers(
    lived_in: tuple[str, str, Studio], browser: Any, tmp_path: Path
) -> None:
    lang, base, house = lived_in
    elsewhere = "en" if lang == "zh" else "zh"

    def word(key: str, lang: str = lang) -> str:
        """What stands on the page, as far as its number."""
        return say(f"web.{key}", lang, n="#").partition("#")[0].rstrip(" （")

    visitor = Visitor(browser, house, lang=lang)
    page = visitor.go("/new")
    page.locator("input[type=file]").first.set_input_files(dirty.titles(tmp_path / "商品.xlsx"))
    page.wait_for_url(re.compile("/studio/data/"))
    page.wait_for_selector("#rows td")
    before = page.url
    page.locator(".main-act", has_text=word("data.fix_all")).click()
    page.wait_for_function("first => location.href !== first", arg=before)
    page.get_by_role("button", name=word("data.after")).click()  # the rows that stood twice are among the last
    page.wait_for_selector("#rows tr.unused")
    data = page.url.partition("/studio")[2]
    page = visitor.go(f"{data}/plan?preset=quick_try&base={base}&settings={SMALL}")
    start = page.get_by_role("button", name=word("plan.train"), exact=True)
    expect(start).to_be_enabled(timeout=LONG)
    page.get_by_label(word("plan.name")).fill("短标题")
    start.click()
    page.wait_for_url(re.compile("/jobs/"))
    job = page.url.partition("/studio")[2]

    # it runs; the page is refreshed, the server killed and started again, another browser looks: the same job
    on_its_way = re.compile("|".join(word(f"status.{state}") for state in ("running", "succeeded")))
    expect(page.locator(".chip", has_text=on_its_way)).to_be_visible(timeout=LONG)
    page.reload()
    expect(page.locator(".chip", has_text=on_its_way)).to_be_visible()
    house.kill()
    house.start()
    other = Visitor(browser, house, lang=elsewhere)
    there = other.go(job)
    states = "|".join(word(f"status.{state}", elsewhere) for state in ("running", "queued", "succeeded"))
    expect(there.locator(".chip", has_text=re.compile(f"^({states})$"))).to_be_visible()
    page = visitor.go(job)
    expect(page.locator(".chip", has_text=word("status.succeeded"))).to_be_visible(timeout=LONG)
    done = re.compile(f"^{word('status.succeeded', elsewhere)}$")
    expect(there.locator(".chip", has_text=done)).to_be_visible()
    assert word("result.wanted") in page.inner_text("main")

    # before and after, on a question that training never saw
    page.get_by_role("button", name=word("result.compare")).click()
    page.wait_for_url(re.compile("/compare"))
    page.locator("main .plain-act").first.click()
    expect(page.get_by_role("button", name=word("compare.correct"))).to_be_visible(timeout=LONG)
    page.get_by_role("button", name=word("compare.correct")).click()
    page.locator(".q-dialog textarea").fill("短袖")
    page.get_by_role("button", name=word("data.keep")).click()
    expect(page.locator(".q-notification")).to_be_visible()
    assert "短标题" in visitor.go("/models").inner_text("main")

    # figures on a sheet of its own
    page = visitor.go("/evaluations")
    page.locator("input[type=file]").first.set_input_files(dirty.titles(tmp_path / "题目.xlsx", 12))
    page.wait_for_url(re.compile("/jobs/"))
    expect(page.locator(".chip", has_text=word("status.succeeded"))).to_be_visible(timeout=LONG)
    expect(page.locator("main")).to_contain_text(word("result.after"))

    # people vote without knowing whose answer is whose
    page = visitor.go("/evaluations")
    page.get_by_role("button", name=word("people.begin")).click()
    page.wait_for_url(re.compile("/votes/"))
    page.get_by_label(word("vote.invite.name")).fill("甲")
    page.get_by_role("button", name=word("vote.invite")).click()
    link = page.locator(".rater-link").inner_text()
    vote = window(browser, lang).new_page()
    vote.goto(link)
    shown = vote.inner_text("main")
    assert "ft:" not in shown and word("compare.tuned") not in shown
    while word("rate.thanks") not in shown and word("rate.closed") not in shown:
        vote.keyboard.press("1")
        vote.wait_for_function("old => document.querySelector('main').innerText !== old", arg=shown)
        shown = vote.inner_text("main")
    page.reload()
    expect(page.locator("main table").first).to_be_visible()

    # it is downloaded, and called by a program
    page = visitor.go("/models")
    page.locator("main table a").first.click()
    page.wait_for_url(re.compile("/models/"))
    with page.expect_download() as packed:
        page.get_by_role("button", name=word("result.download")).click()
    with zipfile.ZipFile(packed.value.path()) as archive:
        assert {"adapter_model.safetensors", "adapter_config.json"} <= set(archive.namelist())
    on = page.get_by_role("button", name=word("model.on"), exact=True)
    if on.count():
        on.click()
        page.get_by_role("button", name=word("yes"), exact=True).click()
        expect(page.get_by_role("button", name=word("model.off"), exact=True)).to_be_visible()
    client = openai.OpenAI(base_url=house.url.replace("/studio", "/v1"), api_key=house.key, timeout=300)
    model = next(one.id for one in client.models.list() if one.id.startswith("ft:") and ":ckpt" not in one.id)
    said = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "纯棉 短袖"}], max_tokens=8
    )
    assert said.choices[0].finish_reason in ("stop", "length")
    for one in (visitor, other):
        one.close()
        assert not one.faults and not one.elsewhere


@by("zh")
def test_from_the_sample_to_the_first_tuned_answer_in_six_clicks(visitor: Visitor) -> None:
    """Nothing is typed, and nothing need be known: what is to be pressed next stands out."""
    page, clicks = visitor.go("/"), 0

    def click(what: Any, arrives: str) -> None:
        nonlocal clicks
        expect(what).to_be_enabled(timeout=LONG)
        what.click()
        clicks += 1
        page.wait_for_url(re.compile(arrives))

    click(page.get_by_role("button", name=re.compile("商品标题|Product titles")), "/studio/data/")
    click(page.locator(".main-act", has_text=re.compile("^下一步|^Next")), "/plan")
    click(page.get_by_role("radio", name=re.compile(BASE)), BASE)  # where the embedded one lies, it is chosen already
    click(page.get_by_role("button", name=re.compile("^(开始训练|Start training)$")), "/jobs/")
    expect(page.locator(".chip", has_text=re.compile("^(已完成|done)$"))).to_be_visible(timeout=LONG)
    click(page.get_by_role("button", name=re.compile("^(试一试|Try it)")), "/compare")
    click(page.locator("main .plain-act").first, "/compare")
    expect(page.get_by_role("button", name=re.compile("纠正这个回答|Correct this"))).to_be_visible(timeout=LONG)
    assert clicks <= 6


def test_a_long_sheet_is_looked_at_window_by_window(real: Studio, browser: Any, tmp_path: Path) -> None:
    visitor = Visitor(browser, real)
    page = visitor.go("/new")
    page.locator("input[type=file]").first.set_input_files(dirty.many(tmp_path / "long.xlsx"))
    page.wait_for_url(re.compile("/studio/data/"), timeout=LONG)
    page.wait_for_selector("#rows td", timeout=LONG)
    expect(page.locator("main")).to_contain_text(re.compile("50,?000"), timeout=LONG)
    page.get_by_role("button", name="Rows after").click()
    expect(page.locator("#rows")).to_contain_text("order 70")
    visitor.close()
    assert not visitor.faults
