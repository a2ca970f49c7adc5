"""The sample workbooks: made again, they are the same; and they hold what they promise."""

from __future__ import annotations

import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from openpyxl import load_workbook

from postil.samples import TITLES_INSTRUCTION, TITLES_SYSTEM, sample

SCRIPT = Path(__file__).parents[2] / "examples" / "make_samples.py"


def cells(path: Path) -> list[tuple[Any, ...]]:
    return list(load_workbook(path).worksheets[0].iter_rows(values_only=True))


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    main = runpy.run_path(str(SCRIPT))["main"]
    folders = (tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two"))
    for folder in folders:
        main(folder)
    return folders


@pytest.mark.parametrize("name", ["titles", "service", "intents", "entities"])
def test_the_script_gives_the_same_again(name: Any, twice: tuple[Path, Path]) -> None:
    one, two = (folder / f"{name}.xlsx" for folder in twice)
    assert one.read_bytes() == two.read_bytes()
    assert cells(one) == cells(sample(name))


def test_titles_name_their_product_and_are_long_enough() -> None:
    rows = cells(sample("titles"))
    assert rows[1][:2] == ("商品标题", "核心主体")
    data = [row for row in rows[2:-1] if row[1]]
    assert len({row[0] for row in data}) == 300
    assert all(row[0].count(row[1]) == 1 for row in data)
    assert all(15 <= len(row[0].replace("&nbsp;", "").strip()) <= 35 for row in data)
    assert 45 <= len({row[1] for row in data}) <= 60


def test_titles_are_slightly_dirty() -> None:
    rows = cells(sample("titles"))[2:]
    assert rows[-1][0] == "合计 300 条"
    assert sum(count == 2 for count in Counter(row[:2] for row in rows).values()) == 2
    titles = [row[0] for row in rows]
    assert sum(title != title.strip() for title in titles) == 1
    assert sum("&nbsp;" in title for title in titles) == 1
    assert sum("\N{KANGXI RADICAL WATER}" in title for title in titles) == 1
    assert sum(row[1] is None for row in rows[:-1]) == 1


def test_service_dialogues_are_multi_turn_and_slightly_dirty() -> None:
    rows = cells(sample("service"))
    assert rows[1] == ("会话编号", "轮次", "客户", "客服")
    data = rows[2:]
    assert 250 <= len(data) <= 350
    assert sum(row[0] is not None for row in data) == 120
    assert sum(row[3] is None for row in data) == 1
    assert sum("19900007788" in row[2] for row in data) == 1
    same = [row[3] for row in data if row[2] == "请问静默工单是多长时间？"]
    assert len(same) == 2 and "24小时" in same[0] and "72小时" in same[1]
    assert len({row[2] for row in data}) > 150


def test_the_task_is_told_as_the_title_follows() -> None:
    assert TITLES_INSTRUCTION.endswith("：")
    assert TITLES_SYSTEM.isascii()


def test_intents_are_five_labels_in_two_languages_and_slightly_dirty() -> None:
    from postil.dataset import load

    found = load(sample("intents"))
    counts = Counter(example.answer for example in found.examples)
    assert set(counts) == {"退换货", "物流", "发票", "使用问题", "投诉"} and min(counts.values()) >= 30
    asked = [example.question[-1].content for example in found.examples]
    assert 0.2 < sum(text.isascii() for text in asked) / len(asked) < 0.6
    assert sorted(left.code for left in found.dropped) == ["duplicate", "duplicate", "missing_answer"]


def test_entities_can_all_be_aligned_but_the_one_that_is_wrong_on_purpose() -> None:
    from postil.dataset import for_task, load
    from postil.model.entities import types_in

    found = for_task(load(sample("entities")), "token_cls")
    assert types_in(example.answer for example in found.examples) == ["产品", "品牌", "规格"]
    assert sorted(left.code for left in found.dropped) == ["duplicate", "label_spans_do_not_fit"]
    assert len(found.examples) == 240
