"""What a person says of the columns wins over what was detected, in every format that has columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow
import pytest
from pyarrow import parquet

from postil.dataset import load
from tests.dataset.made import said

HEAD = ("编号", "标题", "正文", "备注", "设定", "会话")
ROWS = [(f"N{i}", f"标题{i}", f"正文正文正文{i}", f"备注{i}怎么办？", f"设定{i}", f"S{i // 2}") for i in range(12)]
BY_LETTER = {"question": "D", "answer": "B", "system": "E", "conversation": "-"}
BY_NAME = {"question": "备注", "answer": "标题", "system": "设定", "conversation": "-"}


def delimited(sign: str) -> str:
    return "".join(sign.join(row) + "\n" for row in (HEAD, *ROWS))


def write(path: Path) -> Path:
    kind = path.suffix
    if kind == ".xlsx":
        book = openpyxl.Workbook()
        for row in (HEAD, *ROWS):
            book.worksheets[0].append(list(row))
        book.save(path)
    elif kind in (".csv", ".tsv", ".txt"):
        path.write_text(delimited({".csv": ",", ".tsv": "\t", ".txt": "\t"}[kind]), "utf-8")
    elif kind == ".md":
        lines = [HEAD, ("---",) * len(HEAD), *ROWS]
        path.write_text("".join(f"| {' | '.join(row)} |\n" for row in lines), "utf-8")
    elif kind == ".xls":  # a web page, as many systems export it
        rows = ("".join(f"<td>{cell}</td>" for cell in row) for row in (HEAD, *ROWS))
        path.write_text(f"<html><table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table></html>", "utf-8")
    elif kind == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist([dict(zip(HEAD, row, strict=True)) for row in ROWS]), path)
    else:
        records = [dict(zip(HEAD, row, strict=True)) for row in ROWS]
        lines = "\n".join(json.dumps(one, ensure_ascii=False) for one in records)
        path.write_text(lines if kind == ".jsonl" else json.dumps(records, ensure_ascii=False), "utf-8")
    return path


@pytest.mark.parametrize("kind", ["xlsx", "csv", "tsv", "txt", "md", "xls", "parquet", "json", "jsonl"])
def test_columns_by_their_headings(tmp_path: Path, kind: str) -> None:
    found = load(write(tmp_path / f"a.{kind}"), columns=BY_NAME)
    assert said(found)[3] == [("system", "设定3"), ("user", "备注3怎么办？"), ("assistant", "标题3")]
    assert len(found.examples) == 12


@pytest.mark.parametrize("kind", ["xlsx", "csv", "tsv", "txt", "md", "xls"])
def test_columns_by_their_letters(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / f"a.{kind}")
    found = load(path, columns=BY_LETTER)
    assert said(found) == said(load(path, columns=BY_NAME)) and {**found.columns, "conversation": "-"} == BY_LETTER


@pytest.mark.parametrize(("kind", "column"), [("xlsx", "F"), ("csv", "会话"), ("md", "F")])
def test_the_column_that_holds_a_dialogue_together(tmp_path: Path, kind: str, column: str) -> None:
    found = load(write(tmp_path / f"a.{kind}"), columns={"question": "D", "answer": "标题", "conversation": column})
    assert len(found.examples) == 6 and len(found.examples[0].messages) == 4


def test_corrections_hold_with_columns_of_ones_own(tmp_path: Path) -> None:
    options: dict[str, Any] = {"columns": BY_LETTER, "edits": {"B2": "换了"}, "without": [3]}
    found = load(write(tmp_path / "a.csv"), **options)
    assert said(found)[0][-1] == ("assistant", "换了") and len(found.examples) == 11
