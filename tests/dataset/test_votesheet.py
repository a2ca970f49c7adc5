"""A voting sheet tells nobody the sides, and comes back from Excel in whatever shape people leave it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openpyxl
import pytest

from postil.dataset import read_votes, write_votes
from postil.errors import DataError
from postil.locales import speak

ROWS = [{"question": f"=问题 {i}", "a": f"左 {i}", "b": f"右 {i}", "row": 9 - i} for i in range(6)]


@pytest.fixture(params=["zh", "en"])
def sheet(request: Any, tmp_path: Path) -> Path:
    speak(request.param)
    write_votes(tmp_path / "votes.xlsx", "abc123", ROWS, "哪个更好?")
    return tmp_path / "votes.xlsx"


def fill(sheet: Path, votes: dict[int, str]) -> None:
    book = openpyxl.load_workbook(sheet)
    for row, vote in votes.items():
        book.worksheets[0].cell(row, 5).value = vote
    book.save(sheet)


def test_an_empty_sheet_has_no_votes_and_only_what_a_rater_may_see(sheet: Path) -> None:
    told = read_votes(sheet)
    assert (told.number, told.votes, told.comments) == ("abc123", {}, {})
    book = openpyxl.load_workbook(sheet)
    cells = [cell.value for row in book.worksheets[0].iter_rows() for cell in row if cell.value is not None]
    assert "左 3" in cells and 9 not in cells and len(book.worksheets) == 1
    choices = book.worksheets[0].data_validations.dataValidation[0]
    assert choices.formula1.count(",") == 3 and str(choices.sqref) == "E4:E9"


def test_votes_in_either_language_and_order_are_read(sheet: Path) -> None:
    fill(sheet, {4: "A is better", 5: "B 更好", 6: " ａ ", 7: "一样", 8: "Both  bad"})
    book = openpyxl.load_workbook(sheet)
    one = book.worksheets[0]
    one.cell(9, 6).value = "都可以"
    lines = [[cell.value for cell in row] for row in one.iter_rows(min_row=4)]
    for row, line in enumerate(reversed(lines), start=4):  # sorted another way by the rater
        for column, value in enumerate(line, start=1):
            one.cell(row, column).value = value
    book.save(sheet)
    told = read_votes(sheet)
    assert told.votes == {1: "a", 2: "b", 3: "a", 4: "same", 5: "both_bad"} and told.comments == {6: "都可以"}


def test_a_sheet_saved_as_csv_is_read_too(tmp_path: Path) -> None:
    file = tmp_path / "v.csv"
    file.write_text(
        "哪个更好?,,,,,\npostil-vote,abc,,,,\n编号,问题,A,B,选择,备注\n2,q,a,b,A 更好,\n1,q,a,b,,x\n", "gb18030"
    )
    assert read_votes(file).votes == {2: "a"} and read_votes(file).comments == {1: "x"}


def test_what_is_no_vote_is_told_with_its_row(sheet: Path) -> None:
    fill(sheet, {4: "A", 6: "好像A", 8: "?"})
    with pytest.raises(DataError) as refused:
        read_votes(sheet)
    assert (refused.value.code, refused.value.rows) == ("vote_unknown", (6, 8)) and "好像A" in str(refused.value)


def test_another_sheet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError) as refused:
        read_votes(tmp_path / "x.csv")
    assert refused.value.code == "not_a_vote_sheet"
