"""A file in SQLite, window by window: what a person sees in Excel, with what was found in each row."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from postil.dataset import Raw, keep_findings, keep_table, load, read, window
from postil.errors import DataError, FileError
from postil.locales import speak
from tests.dataset.made import PAIRS, jsonl, text, workbook

ROWS = [("问题", "答案", "备注"), *((a, b, "") for a, b in PAIRS), ("没有答案？",), (), ("坏了？", "<p>修</p>", "备注")]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Raw:
    """Opened once: each opening is a process."""
    place = tmp_path_factory.mktemp("kept") / "book.xlsx"
    return read(workbook(place, {"说明": [("怎么用",)], "话术": ROWS}))


@pytest.fixture
def book(opened: Raw, tmp_path: Path) -> Raw:
    return replace(opened, path=tmp_path / "book.xlsx")


def kept(book: Raw, **reading: Any) -> tuple[Path, Path]:
    table, findings = book.path.with_suffix(".table"), book.path.with_suffix(".found")
    keep_table(book, table)
    keep_findings(load(book, **reading), findings)
    return table, findings


def numbers(found: dict[str, Any]) -> list[int]:
    return [row["number"] for row in found["rows"]]


def test_before_it_is_checked_a_table_shows_what_stands_in_it(book: Raw) -> None:
    table, _ = kept(book)
    found = window(table, sheet="话术", offset=13, limit=2)
    assert (found["format"], found["form"], found["total"], found["checked"]) == ("xlsx", "table", 16, False)
    assert [(one["name"], one["rows"], one["columns"]) for one in found["sheets"]] == [("说明", 1, 1), ("话术", 16, 3)]
    assert found["rows"][0] == {
        "number": 14, "state": None, "code": None, "issues": [], "repaired": [],
        "cells": [{"at": "A14", "text": "没有答案？"}, {"at": "B14", "text": ""}, {"at": "C14", "text": ""}],
    }  # fmt: skip
    assert window(table)["sheet"] == "说明"
    with pytest.raises(DataError) as refused:
        window(table, only="issues")
    assert refused.value.code == "nothing_found_yet"


def test_each_row_comes_with_what_was_found_in_it(book: Raw) -> None:
    found = window(*kept(book), offset=12, limit=10)
    assert (found["sheet"], found["header_row"], found["checked"]) == ("话术", 1, True)
    assert [(c["at"], c["name"], c["role"]) for c in found["columns"]] == [
        ("A", "问题", "question"), ("B", "答案", "answer"), ("C", "备注", None)
    ]  # fmt: skip
    assert [(row["number"], row["state"], row["code"]) for row in found["rows"]] == [
        (13, "used", None), (14, "dropped", "missing_answer"), (15, "not_data", "blank_row"), (16, "used", None),
    ]  # fmt: skip
    missing, html = found["rows"][1]["issues"][0], found["rows"][3]["issues"][0]
    assert missing["action"] == {"kind": "leave_out", "rows": [14]} and missing["cell"] == "B14"
    assert html["action"] == {"kind": "edit", "cell": "B16", "text": "修"}
    assert found["rows"][3]["repaired"][0]["after"] == "修"
    assert {issue["code"] for issue in found["general"]} >= {"few_rows", "other_sheets_not_used"}
    counts = {one["code"]: (one["count"], one["fixable"]) for one in found["counts"]}
    assert counts["missing_answer"] == (1, 1) and counts["few_rows"] == (1, 0)


def test_only_rows_with_problems(book: Raw) -> None:
    table, findings = kept(book)
    assert numbers(window(table, findings, only="issues")) == [14, 16]
    assert numbers(window(table, findings, only="html_left")) == [16]
    assert (window(table, findings, only="issues", offset=1)["total"], numbers(window(table, findings, only="x"))) == (
        2,
        [],
    )


def test_another_sheet_has_no_findings_of_this_one(book: Raw) -> None:
    found = window(*kept(book), sheet="说明")
    assert found["rows"][0]["state"] is None and not found["rows"][0]["issues"] and found["header_row"] is None
    assert [one["used"] for one in found["sheets"]] == [False, True]
    with pytest.raises(FileError) as refused:
        window(book.path.with_suffix(".table"), sheet="没有")
    assert refused.value.code == "sheet_missing"


def test_what_was_put_right_stands_in_its_place(book: Raw) -> None:
    found = window(*kept(book, edits={"B14": "有。"}, without=[3]), offset=2, limit=12)
    assert found["rows"][-1]["cells"][1] == {"at": "B14", "text": "有。", "before": ""}
    assert (found["rows"][0]["state"], found["rows"][0]["code"]) == ("dropped", "left_out_by_user")


def test_records_and_lines(tmp_path: Path) -> None:
    records = [
        {"id": 1, "messages": [{"role": "user", "content": "在吗"}, {"role": "assistant", "content": "在"}]},
        "x",
    ]
    found = window(*kept(read(jsonl(tmp_path / "a.jsonl", records))))
    assert found["form"] == "records" and found["rows"][1]["state"] == "dropped"
    assert {"at": "1:messages.2.content", "text": "在"} in found["rows"][0]["cells"]
    assert "messages.2.content" in [column["at"] for column in found["columns"]]
    found = window(*kept(read(text(tmp_path / "b.txt", "问：在吗\n答：在\n"))))
    assert found["form"] == "lines" and found["rows"][1]["cells"] == [{"at": "2:text", "text": "答：在"}]


def test_a_table_on_its_side_shows_findings_at_their_cells(tmp_path: Path) -> None:
    pairs = [("问题", "答案"), *PAIRS, ("坏了？", "<p>修</p>")]
    path = text(tmp_path / "a.csv", "\n".join(",".join(cells) for cells in zip(*pairs, strict=True)) + "\n")
    found = window(*kept(read(path)))
    assert [[issue["code"] for issue in row["issues"]] for row in found["rows"]] == [[], ["html_left"]]


def test_findings_are_told_in_the_language_of_whoever_looks(book: Raw) -> None:
    table, findings = kept(book)
    messages = []
    for lang in ("zh", "en"):
        speak(lang)
        messages.append(window(table, findings, only="html_left")["rows"][0]["issues"][0]["message"])
    assert messages[0] != messages[1]


def test_odd_texts_are_kept_and_long_ones_cut(tmp_path: Path) -> None:
    path = text(tmp_path / "a.jsonl", f'{{"question": "{"长" * 30_000}", "answer": "\\ud83d half"}}\n')
    cells = window(*kept(read(path)))["rows"][0]["cells"]
    assert (len(cells[0]["text"]), cells[0]["length"]) == (20_000, 30_000)


@pytest.mark.parametrize("damage", [b"", b"nonsense" * 1000, None])
def test_what_is_broken_is_said_to_be(book: Raw, damage: bytes | None) -> None:
    table, _ = kept(book)
    if damage is None:
        with sqlite3.connect(table) as database:
            database.execute("UPDATE about SET value = '99' WHERE name = 'version'")
    else:
        table.write_bytes(damage)
    with pytest.raises(FileError) as refused:
        window(table)
    assert refused.value.code == "kept_broken"
    with pytest.raises(FileError) as refused:
        window(book.path.with_name("none"))
    assert refused.value.code == "kept_broken"
