"""A workbook as a shop keeps it: titles and their nouns, with the troubles that a page must show and mend."""

from __future__ import annotations

from pathlib import Path

from openpyxl import Workbook, load_workbook

from postil.samples import sample

ATTACKS = (
    "<img src=x onerror=alert(1)>",
    "{{7*7}}",
    "<script>alert(2)</script>",
    "javascript:alert(3)",
    "</textarea><b>bold",
    "<svg/onload=alert(4)>",
)


def titles(path: Path, rows: int = 60) -> Path:
    """Some rows of the sample, one without an answer, one twice, one with a telephone number."""
    source = load_workbook(sample("titles")).worksheets[0]
    book = Workbook()
    sheet = book.worksheets[0]
    sheet.append(["商品标题", "核心主体"])
    for title, noun in list(source.iter_rows(min_row=3, max_col=2, values_only=True)):
        if noun and sheet.max_row < rows + 1:
            sheet.append([title, noun])
    sheet.append([sheet["A5"].value, sheet["B5"].value])
    sheet.append(["春季新款 宽松 连帽 女士 卫衣 加厚 保暖", None])
    sheet.append(["客服电话 13812345678 纯棉 男士 短袖 夏季", "短袖"])
    book.save(path)
    return path


def attacks(path: Path, rows: int = 24) -> Path:
    """Questions and answers that would run in a browser if they were taken for HTML."""
    book = Workbook()
    sheet = book.worksheets[0]
    sheet.append(["question", "answer"])
    for i in range(rows):
        sheet.append([f"{ATTACKS[i % len(ATTACKS)]} {i}", f"answer {i} {ATTACKS[(i + 1) % len(ATTACKS)]}"])
    book.save(path)
    return path


def prices(path: Path, rows: int = 30) -> Path:
    """A sheet in which nothing looks like a question or an answer."""
    book = Workbook()
    book.worksheets[0].append(["商品", "价格", "库存"])
    for i in range(rows):
        book.worksheets[0].append([f"商品{i}", i * 1.5, i])
    book.save(path)
    return path


def many(path: Path, rows: int = 50_000) -> Path:
    """A long sheet."""
    book = Workbook(write_only=True)
    sheet = book.create_sheet("rows")
    sheet.append(["question", "answer"])
    for i in range(rows):
        sheet.append([f"Where is order {i}, sent on day {i % 28}?", f"Order {i} is in warehouse {i % 17}."])
    book.save(path)
    return path
