import openpyxl
import pytest
from openpyxl.worksheet.formula import ArrayFormula

from postil.dataset.raw import column_letter
from postil.dataset.read import read
from postil.dataset.xlsx import column_number, read_xlsx
from postil.errors import FileError
from tests.dataset.hostile import sheet, text_cell, workbook


def only(path):
    (found,) = read_xlsx(str(path))
    return found


def test_column_letters_go_both_ways():
    for number, letters in ((1, "A"), (26, "Z"), (27, "AA"), (702, "ZZ"), (703, "AAA"), (16384, "XFD")):
        assert column_letter(number) == letters
        assert column_number(letters) == number


def test_texts_of_every_kind(tmp_path):
    rows = (
        '<row r="2"><c r="B2" t="s"><v>0</v></c><c r="C2" t="s"><v>1</v></c>'
        '<c r="D2" t="str"><f>A1</f><v>算出来的</v></c><c r="E2" t="b"><v>0</v></c>'
        '<c r="F2" t="d"><v>2026-06-18</v></c>'
        f"{text_cell('G2', 'a_x000D_b')}</row>"
    )
    strings = (
        '<sst><si><t xml:space="preserve"> 空格 </t></si>'
        "<si><r><rPr/><t>粗</t></r><r><t>细</t></r><rPh sb='0' eb='1'><t>cuxi</t></rPh></si></sst>"
    )
    found = only(workbook(tmp_path / "a.xlsx", sheet(rows), strings=strings))
    assert found.rows == {2: {2: " 空格 ", 3: "粗细", 4: "算出来的", 5: "FALSE", 6: "2026-06-18", 7: "a\rb"}}


def test_cells_and_rows_without_a_name_follow_each_other(tmp_path):
    found = only(workbook(tmp_path / "a.xlsx", sheet("<row/><row><c/><c t='s'><v>0</v></c></row>")))
    assert found.rows == {2: {2: "a"}}


def test_a_prefix_before_all_names_is_understood(tmp_path):
    body = (
        "<x:worksheet xmlns:x='m'><x:sheetData><x:row><x:c t='s'><x:v>0</x:v></x:c></x:row></x:sheetData></x:worksheet>"
    )
    assert only(workbook(tmp_path / "a.xlsx", body)).rows == {1: {1: "a"}}


def test_number_formats_of_the_workbook_are_used(tmp_path):
    styles = (
        '<styleSheet><numFmts><numFmt numFmtId="164" formatCode="0&quot;元&quot;"/></numFmts>'
        '<cellStyleXfs><xf numFmtId="9"/></cellStyleXfs><cellXfs>'
        '<xf numFmtId="0"/><xf numFmtId="9"/><xf numFmtId="164"/></cellXfs></styleSheet>'
    )
    row = '<row><c s="1"><v>0.85</v></c><c s="2"><v>12</v></c><c s="0"><v>12.0</v></c>'
    row += '<c s="9"><v>7</v></c><c><v>007</v></c></row>'
    found = only(workbook(tmp_path / "a.xlsx", sheet(row), styles=styles))
    assert found.rows[1] == {1: "85%", 2: "12元", 3: "12", 4: "7", 5: "7"}


def test_formulas_without_a_value_and_errors_are_issues_at_their_cell(tmp_path):
    row = (
        '<row r="3"><c r="A3"><f>1+1</f></c><c r="B3"><f>1+1</f><v></v></c><c r="C3" t="str"><f>""</f><v></v></c>'
        '<c r="D3" t="e"><v>#N/A</v></c><c r="E3"><f>1+1</f><v>2</v></c></row>'
    )
    found = only(workbook(tmp_path / "a.xlsx", sheet(row)))
    assert [(i.code, i.row, i.cell) for i in found.findings.issues] == [
        ("formula_without_value", 3, "A3"), ("formula_without_value", 3, "B3"), ("error_cell", 3, "D3"),
    ]  # fmt: skip
    assert found.rows == {3: {5: "2"}}


def book_with_everything(path):
    book = openpyxl.Workbook()
    first = book.active
    first.title = "说明"
    first["A1"] = "请看第二张表"
    page = book.create_sheet("数据")
    for row in (["标题", None, None], ["类", "问", "答"], ["物流", "几天到？", "三天"], [None, "发什么？", "中通"]):
        page.append(row)
    page.append([None, None, None])
    page.append(["售后", "能退吗？", "能"])
    page.merge_cells("A1:C1")
    page.merge_cells("A3:A4")
    page.row_dimensions[4].hidden = True
    page["C9"] = ArrayFormula("C9:C9", "=1+1")
    book.create_sheet("底稿").sheet_state = "hidden"
    book.active = 1
    book.save(path)
    return path


def test_sheets_merged_cells_and_what_is_hidden(tmp_path):
    raw = read(book_with_everything(tmp_path / "a.xlsx"))
    assert [(each.name, each.hidden, each.active) for each in raw.sheets] == [
        ("说明", False, False), ("数据", False, True), ("底稿", True, False),
    ]  # fmt: skip
    rows = raw.sheets[1].rows
    assert [(row.number, row.cells) for row in rows] == [
        (1, ("标题",)), (2, ("类", "问", "答")), (3, ("物流", "几天到？", "三天")), (4, ("物流", "发什么？", "中通")),
        (5, ()), (6, ("售后", "能退吗？", "能")),
    ]  # fmt: skip
    assert raw.sheets[1].merged == ((1, 1, 1, 3), (3, 1, 4, 1))
    assert [(each.code, each.row, each.cell, each.before) for each in raw.repaired] == [
        ("merged_filled", 3, "A3:A4", "物流")
    ]
    assert {(each.code, each.cell) for each in raw.issues} == {("hidden_cells", None), ("formula_without_value", "C9")}


def test_one_sheet_can_be_asked_for(tmp_path):
    path = book_with_everything(tmp_path / "a.xlsx")
    raw = read(path, sheet="说明")
    assert [each.name for each in raw.sheets] == ["说明"]
    assert not raw.issues and not raw.repaired
    with pytest.raises(FileError) as caught:
        read(path, sheet="没有")
    assert "数据" in caught.value.cause("zh")


def test_a_title_over_two_rows_is_not_copied(tmp_path):
    book = openpyxl.Workbook()
    page = book.active
    page["A1"], page["A3"], page["B3"], page["B2"] = "标题", "问", "答", "副题"
    page.merge_cells("A1:B2")
    book.save(tmp_path / "a.xlsx")
    assert [row.cells for row in read(tmp_path / "a.xlsx").sheets[0].rows][1:] in (
        [(), ("问", "答")],
        [("", "副题"), ("问", "答")],
    )


def test_a_chart_sheet_is_passed_over(tmp_path):
    book = openpyxl.Workbook()
    book.active["A1"] = "问"
    book.create_chartsheet("图")
    book.save(tmp_path / "a.xlsx")
    assert [each.name for each in read(tmp_path / "a.xlsx").sheets] == ["Sheet"]
