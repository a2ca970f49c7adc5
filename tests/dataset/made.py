"""Files for the tests, as a shop or a call centre would send them. All names and texts are made up."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from postil.dataset import load
from postil.records import Dataset

PAIRS = [
    ("怎么退货？", "在订单页点申请退货。"), ("多久发货？", "下午四点前付款当天发。"), ("有发票吗？", "有，电子普票。"),
    ("能换货吗？", "七天内可以换。"), ("包邮吗？", "满88元包邮。"), ("是正品吗？", "品牌直供，假一赔十。"),
    ("可以自提吗？", "支持门店自提。"), ("有优惠券吗？", "店铺首页可以领。"), ("发什么快递？", "默认发中通。"),
    ("能开专票吗？", "可以，提供税号。"), ("尺码偏大吗？", "正常码。"), ("掉色吗？", "不掉色。"),
]  # fmt: skip


def workbook(path: Path, sheets: Mapping[str, Sequence[Sequence[Any]]], merged: Iterable[tuple[str, str]] = ()) -> Path:
    """A workbook with these rows; `merged`: (sheet, range)."""
    import openpyxl

    book = openpyxl.Workbook()
    book.remove(book.active)  # type: ignore[arg-type]
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(list(row))
    for name, cells in merged:
        book[name].merge_cells(cells)
    book.save(path)
    return path


def text(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8", newline="\n")
    return path


def jsonl(path: Path, values: Iterable[Any]) -> Path:
    return text(path, "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values))


def said(dataset: Dataset) -> list[list[tuple[str, str]]]:
    """Each example as (role, text) pairs."""
    return [[(m.role, m.content) for m in example.messages] for example in dataset.examples]


def codes(dataset: Dataset) -> set[str]:
    """The codes of all issues but the advice on the number of rows."""
    return {issue.code for issue in dataset.issues} - {"too_few_rows", "few_rows", "more_rows"}


def csv(path: Path, content: str, **options: Any) -> Dataset:
    return load(text(path, content), **options)


def accounted(dataset: Dataset) -> None:
    """No record is in two places or in none."""
    assert dataset.used >= 0
    assert dataset.rows == dataset.used + len(dataset.dropped) + len(dataset.not_data)
    for issue in dataset.issues:
        assert issue.message("zh") and issue.message("en") and issue.fix("zh") and issue.fix("en")
    for left in (*dataset.dropped, *dataset.not_data):
        assert left.message("zh") and left.message("en")
    for repair in dataset.repaired:
        assert repair.message("zh") and repair.message("en")
