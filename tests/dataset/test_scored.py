"""Scores as a sheet: numbers stay numbers, and no answer becomes a formula."""

from __future__ import annotations

from pathlib import Path

import openpyxl
import pytest

from postil.dataset import write_beside, write_scores
from postil.errors import FileError


def test_texts_are_texts_and_numbers_are_numbers(tmp_path: Path) -> None:
    odd = ["=cmd|' /C calc'!A0", "+1", "-1", "@x", "＝1", "\t=1", "#N/A", "3", "a\x00b", "<img onerror=alert(1)>"]
    write_scores(
        tmp_path / "s.xlsx", ["行", "=head", "分"], [["1", text, 0.123456] for text in odd] + [["2", "", None]]
    )
    sheet = openpyxl.load_workbook(tmp_path / "s.xlsx").worksheets[0]
    assert [cell.value for cell in sheet[1]] == ["行", "=head", "分"]
    for number, text in enumerate(odd, start=2):
        cell = sheet.cell(number, 2)
        assert cell.data_type == "s" and cell.value == text.replace("\x00", "\ufffd")
        assert bool(cell.quotePrefix) == (text.lstrip()[:1] in "=+-@＝")
        assert sheet.cell(number, 3).value == 0.1235
    assert sheet.cell(12, 3).value is None and sheet.freeze_panes == "A2"


def test_the_user_s_own_sheet_gets_new_columns(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (["说明"], ["问题", "答案"], ["a", "1"], ["b", "2"], [], ["c", "3"]):
        book.worksheets[0].append(row)
    book.worksheets[0]["A2"].font = openpyxl.styles.Font(bold=True)
    book.save(tmp_path / "own.xlsx")
    cells = {3: ["=旧", 0.25], 6: ["新", None]}
    lost = write_beside(tmp_path / "own.xlsx", tmp_path / "out.xlsx", None, 2, ["回答", "分"], cells)
    sheet = openpyxl.load_workbook(tmp_path / "out.xlsx").worksheets[0]
    assert [[cell.value for cell in row] for row in sheet.iter_rows()] == [
        ["说明", None, None, None], ["问题", "答案", "回答", "分"], ["a", "1", "=旧", 0.25], ["b", "2", None, None],
        [None] * 4, ["c", "3", "新", None],
    ]  # fmt: skip
    assert lost == () and sheet["C3"].data_type == "s" and sheet["A2"].font.b
    (tmp_path / "a.csv").write_text("q,a\n1,2\n")
    assert write_beside(tmp_path / "a.csv", tmp_path / "none.xlsx", None, 1, ["x"], {}) is None
    assert not (tmp_path / "none.xlsx").exists()


@pytest.mark.parametrize(("name", "code"), [("none/s.xlsx", "output_no_folder"), ("s.csv", "output_not_xlsx")])
def test_a_place_that_will_not_do_is_refused(tmp_path: Path, name: str, code: str) -> None:
    with pytest.raises(FileError) as refused:
        write_scores(tmp_path / name, ["a"], [])
    assert refused.value.code == code
