"""Each kind of task, from its sheet through the pages to an answer: one way, five sheets."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import openai
import pytest
from playwright.sync_api import expect

from tests.sided import build_t5
from tests.web.conftest import BASE
from tests.web.studio import LONG, Studio, Visitor, running

if TYPE_CHECKING:
    from tests.models import Build

pytestmark = pytest.mark.slow
T5 = "tiny-t5"
WORDS = {"连衣裙": "衣服", "保温杯": "杯子", "手机壳": "手机"}
SHORT = {"n_epochs": 1, "validation_rows": 4, "test_rows": 6, "learning_rate_probe": False, "r": 4, "threads": 1,
         "learning_rate": 0.003}  # fmt: skip


def titles(rows: int = 40) -> list[tuple[str, str]]:
    """Titles, and the word in each that says what is sold."""
    words = list(WORDS)
    return [(f"{i} 新款 {'夏季 ' * (i % 4)}{words[i % 3]} 女", words[i % 3]) for i in range(rows)]


def labels(path: Path) -> Path:
    return _sheet(path, "标题,类别", [f"{title},{WORDS[word]}" for title, word in titles()])


def tags(path: Path) -> Path:
    return _sheet(path, "文本,标注", [f"{title},产品:{word}" for title, word in titles()])


def rewritten(path: Path) -> Path:
    return _sheet(
        path, "原文,改写", [f"order {i} the title says {'so ' * (i % 3)}sent,order {i} sent" for i in range(30)]
    )


def articles(path: Path) -> Path:
    path = path.with_suffix(".txt")
    parts = [
        f"第 {i} 号仓库收货到晚上{i % 4 + 6}点。{'超重的包裹走另一条线。' * (i % 3)}Goods leave at dawn."
        for i in range(30)
    ]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path


def preferences(path: Path) -> Path:
    return _sheet(
        path,
        "问题,好回答,差回答",
        [f"{i} 号包裹要几天？,{i % 5 + 1} 天，会短信通知。,不知道 {i % 3}" for i in range(30)],
    )


def _sheet(path: Path, header: str, lines: list[str]) -> Path:
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


@dataclass(frozen=True)
class Way:
    """tile: the task's tile in both languages; clicked: whether a person has to choose it; question: what is asked in
    the end; shown: what stands in the place of the answer."""

    sheet: Callable[[Path], Path]
    task: str
    tile: str
    question: str
    base: str = BASE
    clicked: bool = False
    shown: str = ""


WAYS = {
    "seq_cls": Way(labels, "seq_cls", "Choose a label|选标签", "7 新款 保温杯 女", clicked=True, shown=".chances .bar"),
    "token_cls": Way(
        tags, "token_cls", "Mark words|标出词语", "7 新款 保温杯 <b>女</b>", clicked=True, shown=".marked"
    ),
    "seq_2_seq_lm": Way(rewritten, "seq_2_seq_lm", "Rewrite|改写", "order 5 the title says sent", base=T5),
    "pretraining": Way(articles, "pretraining", "Read on|续写", "第 3 号仓库"),
    "dpo": Way(preferences, "dpo", "Prefer the better|学会挑好", "3 号包裹要几天？"),
}


@pytest.fixture(scope="module")
def studio(base: Build, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    home = tmp_path_factory.mktemp("tasks-home")
    shutil.copytree(base("llama3"), home / "models" / BASE)
    build_t5(home / "models" / T5)
    with running(home, tmp_path_factory.mktemp("tasks")) as made:
        yield made


@pytest.mark.parametrize("task", WAYS)
def test_from_a_sheet_to_an_answer(task: str, studio: Studio, browser: Any, tmp_path: Path) -> None:
    way = WAYS[task]
    visitor = Visitor(browser, studio, lang="zh" if task in ("token_cls", "dpo") else "en")
    page = visitor.go("/new")
    page.locator("input[type=file]").first.set_input_files(way.sheet(tmp_path / f"{task}.csv"))
    page.wait_for_url(re.compile("/studio/data/"))
    page.wait_for_selector("#rows td")
    expect(page.get_by_role("button", name=re.compile("^Next|下一步")).first).to_be_enabled()
    data = page.url.partition("/studio")[2]

    # the task is a plain choice, with its reason
    settings = quote(json.dumps(SHORT))
    page = visitor.go(f"{data}/plan?base={way.base}&settings={settings}")
    start = page.get_by_role("button", name=re.compile("^(Start training|开始训练)$"))
    tile = page.get_by_role("radio", name=re.compile(way.tile))
    if way.clicked:
        expect(start).to_be_enabled()
        tile.click()
    expect(tile).to_have_attribute("aria-checked", "true")
    expect(start).to_be_enabled()
    start.click()
    page.wait_for_url(re.compile("/jobs/"))
    expect(page.locator(".chip", has_text=re.compile("^(done|已完成)$"))).to_be_visible(timeout=LONG)
    expect(page.get_by_role("button", name=re.compile("Try it|试一试"))).to_be_visible()
    expect(page.locator("main td").first).to_be_visible()
    answers = page.get_by_role("region", name=re.compile("Before and after, in answers|前后对比：回答"))
    expect(answers.last).to_be_visible()
    shown = page.inner_text("main")
    if task == "seq_cls":
        assert "Which labels are taken for which" in shown and "TF-IDF" in shown
    if task == "token_cls":
        assert page.locator("td .marked mark").count() and "产品" in shown
    if task == "dpo":
        assert "不想要的回答" in shown and "不知道" in shown

    # before and after
    page.get_by_role("button", name=re.compile("Try it|试一试")).click()
    page.wait_for_url(re.compile("/compare"))
    page.locator("textarea").first.fill(way.question)
    page.get_by_role("button", name=re.compile("^(Ask|提问)$")).click()
    expect(page.get_by_role("button", name=re.compile("Correct this|纠正"))).to_be_visible(timeout=LONG)
    assert page.get_by_role("alert").count() == 0, page.inner_text("main")
    if way.shown:
        assert page.locator(way.shown).count() >= 2  # the base's and the tuned model's
    if task == "token_cls":  # what would be HTML is text
        assert "<b>" in page.locator(".answer").first.inner_text() and page.locator(".answer b").count() == 0
    visitor.close()
    assert not visitor.faults and not visitor.elsewhere

    # and by a program
    client = openai.OpenAI(base_url=studio.url.replace("/studio", "/v1"), api_key=studio.key, timeout=300)
    job = next(iter(client.fine_tuning.jobs.list()))
    assert job.model_extra["x_postil"]["plan"]["task"] == task
    model = str(job.fine_tuned_model)
    client.post("/postil/models/allow", body={"model": model, "reason": "a test"}, cast_to=object)
    asked: Any = [{"role": "user", "content": way.question}]
    said = client.chat.completions.create(model=model, messages=asked, max_tokens=8, temperature=0).choices[0].message
    if task == "seq_cls":
        assert said.content in WORDS.values()
        told = said.model_extra["x_postil"]["labels"]
        assert said.content == told[0]["label"] and sum(one["probability"] for one in told) == pytest.approx(1)
    if task == "token_cls":
        assert isinstance(json.loads(said.content or ""), list)
