"""Workbooks that we write: marks where the problems are, answers in a column, and never a formula of our making."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from openpyxl import Workbook, load_workbook
from openpyxl.chart import BarChart, Reference
from openpyxl.comments import Comment
from openpyxl.styles import Font, PatternFill

from postil.dataset import excel, workbook
from postil.dataset.raw import Line, Raw, Record, Row, Sheet
from postil.dataset.workbook import findings, read_answers, read_doubtful, write_answers, write_report
from postil.errors import FileError
from postil.locales import say
from postil.records import Dataset, Issue, Left, Repair

# Attack test 11: what a spreadsheet could take for a formula, and what could break the file.
HOSTILE = [
    " =1+1", "　=1+1", "=cmd|' /C calc'!A0", "+1+2", "-2+3", "@SUM(1,1)", "\t=1+1", "\r=1+1", "\n=1+1",
    "＝1+1", "＋86", "－5", "＠foo",
    "=HYPERLINK(\"http://x.invalid\",\"点我\")", "#N/A", "#REF!", "1e5", "007", "TRUE", "{=1}", "%0A=1",
]  # fmt: skip


@pytest.fixture(autouse=True)
def sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Codes of our own, so that these tests do not depend on the wording of the real ones."""
    texts = {"issue.bad.message": "问题 {what}", "issue.bad.fix": "改 {what}", "repair.mended": "修好了"}

    def spoken(key: str, lang: str | None = None, **values: Any) -> str:
        return texts[key].format(**values) if key in texts else say(key, lang, **values)

    monkeypatch.setattr("postil.records.dataset.say", spoken)
    monkeypatch.setattr(workbook, "say", spoken)
    monkeypatch.setattr(workbook, "knows", lambda key: key in texts)


def dataset(path: Path, **known: Any) -> Dataset:
    return Dataset(path=path, sha256="", format=path.suffix[1:], encoding="", rows=3, examples=(), **known)


def bad(row: int | None, cell: str | None = None, severity: Any = "error", what: str = "甲") -> Issue:
    return Issue("bad", severity, row, cell, {"what": what})


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A workbook as a user has it: title merged, colours, a formula, a comment, a second sheet."""
    book = Workbook()
    sheet = book.worksheets[0]
    sheet.title = "数据's"
    rows = [
        ["答疑表", None, None],
        ["问题", "答案", "备注"],
        ["几点下班？", "九点", 1],
        ["包邮吗？", "=A3", 2],
        ["能退吗？", None, 3],
    ]
    for row in rows:
        sheet.append(row)
    sheet.merge_cells("A1:C1")
    sheet["A3"].font = Font(bold=True, color="FF0000")
    sheet["C3"].comment = Comment("我的备注", "店长")
    sheet.column_dimensions["A"].width = 33
    book.create_sheet("说明")["A1"] = "勿动"
    path = tmp_path / "own.xlsx"
    book.save(path)
    return path


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have `postil.dataset.read.read` give what a test says that the file holds."""
    import sys
    import types

    def say_it_holds(**content: Any) -> None:
        module = types.ModuleType("postil.dataset.read")
        known = {"path": Path("x"), "sha256": "", "format": "csv", "encoding": "UTF-8", "delimiter": None}
        vars(module)["read"] = lambda path, sheet: Raw(**{**known, **content})
        monkeypatch.setitem(sys.modules, "postil.dataset.read", module)

    return say_it_holds


def colour(cell: Any) -> str:
    return str(cell.fill.fgColor.rgb)[-6:]


def xml(path: Path) -> str:
    with ZipFile(path) as packed:
        return "".join(packed.read(n).decode() for n in packed.namelist() if n.startswith("xl/worksheets/sheet"))


# ── the report ────────────────────────────────────────────────────────────────────────────────────


def test_cells_are_coloured_by_the_worst_finding_and_have_one_comment(own: Path, tmp_path: Path) -> None:
    known = dataset(
        own, sheet="数据's", columns={"question": "A", "answer": "B"},
        issues=(bad(3, "A3", "advice", "一"), bad(3, "A3", "error", "二"), bad(4, "B4", "warning"), bad(5)),
        repaired=(Repair("mended", 2, "前", "后", "C2"), Repair("mended", 3, "", "后", "C4:C5")),
    )  # fmt: skip
    out = tmp_path / "out.xlsx"
    write_report(known, out, "zh")
    sheet = load_workbook(out)["数据's"]
    assert colour(sheet["A3"]) == workbook.COLOURS["error"]
    assert all(part in sheet["A3"].comment.text for part in ("问题 一", "改 一", "问题 二", "改 二"))
    assert colour(sheet["B4"]) == workbook.COLOURS["warning"]
    assert colour(sheet["A5"]) == workbook.COLOURS["error"], "only the row was known: the question is marked"
    assert colour(sheet["C2"]) == workbook.COLOURS["repair"]
    assert sheet["C4"].comment is not None and sheet["C5"].comment is None, "of a range, the first cell is marked"
    assert sheet["B3"].comment is None and colour(sheet["B3"]) == "000000"


def test_the_users_workbook_keeps_its_looks_formulas_and_comments(own: Path, tmp_path: Path) -> None:
    before = own.read_bytes()
    out = tmp_path / "out.xlsx"
    told = write_report(dataset(own, issues=(bad(3, "C3"), bad(1, "B1"))), out, "zh")
    book = load_workbook(out)
    sheet = book["数据's"]
    assert sheet["A3"].font.bold and sheet.column_dimensions["A"].width == 33
    assert sheet["B4"].value == "=A3" and sheet["B4"].data_type == "f"
    assert book["说明"]["A1"].value == "勿动"
    assert sheet["C3"].comment.text.startswith("我的备注") and "问题 甲" in sheet["C3"].comment.text
    assert sheet["A1"].comment is not None, "the inside of a merged range is marked at its head"
    assert own.read_bytes() == before
    assert told == (say("marks.lost.cached", "zh"),)


def test_the_findings_are_listed_with_a_legend_and_links(own: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.xlsx"
    write_report(
        dataset(own, issues=(bad(4, "B4"), bad(None, what="乙")), repaired=(Repair("mended", 3, "前", "后"),)),
        out,
        "zh",
    )
    sheet = load_workbook(out)["Postil检查结果"]
    lines = list(sheet.iter_rows(values_only=True))
    assert [colour(sheet.cell(row, 1)) for row in (2, 3, 4)] == [
        workbook.COLOURS[s] for s in ("error", "warning", "advice")
    ]
    assert lines[6:] == [
        (None, None, "错误", "问题 乙", "改 乙", None, None),
        (3, None, "已修复", "修好了", None, "前", "后"),
        (4, "B4", "错误", "问题 甲", "改 甲", None, None),
    ]
    assert sheet["B9"].hyperlink.location == "'数据''s'!B4"


def test_a_dropped_row_is_marked_once_even_when_an_issue_tells_the_same(own: Path) -> None:
    known = dataset(own, issues=(bad(3),), dropped=(Left(3, "bad", {"what": "甲"}), Left(4, "bad", {"what": "丙"})))
    assert [(f.row, f.message, f.fix) for f in findings(known)] == [(3, "问题 甲", "改 甲"), (4, "问题 丙", "改 丙")]


def test_a_report_of_a_report_starts_afresh(own: Path, tmp_path: Path) -> None:
    once, twice = tmp_path / "once.xlsx", tmp_path / "twice.xlsx"
    write_report(dataset(own, issues=(bad(3, "A3"), bad(3, "C3"))), once, "zh")
    write_report(dataset(once, issues=(bad(4, "B4"),)), twice, "en")
    book = load_workbook(twice)
    sheet = book["数据's"]
    assert book.sheetnames == ["数据's", "说明", "Postil findings"]
    assert sheet["A3"].comment is None and colour(sheet["A3"]) == "000000" and sheet["A3"].font.bold
    assert sheet["C3"].comment.text == "我的备注"
    assert sheet["B4"].comment is not None


def test_many_findings_on_one_cell_are_cut_with_a_pointer(own: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.xlsx"
    write_report(dataset(own, issues=tuple(bad(3, "A3", what=f"{i}" * 50) for i in range(200))), out, "en")
    text = load_workbook(out)["数据's"]["A3"].comment.text
    assert len(text) < workbook.MAX_COMMENT + 100 and text.endswith(say("marks.more", "en"))


def test_what_is_lost_is_said(tmp_path: Path) -> None:
    book = Workbook()
    sheet = book.worksheets[0]
    for row in (["问题", "答案"], ["一", 1]):
        sheet.append(row)
    chart = BarChart()
    chart.add_data(Reference(sheet, min_col=2, min_row=1, max_row=2))
    sheet.add_chart(chart, "D2")
    path, out = tmp_path / "own.xlsx", tmp_path / "out.xlsx"
    book.save(path)
    with ZipFile(path, "a") as packed:  # parts that nothing refers to are dropped when the workbook is written again
        for name in ("xl/pivotTables/pivotTable1.xml", "xl/vbaProject.bin", "xl/media/image1.png", "xl/activeX/a.xml"):
            packed.writestr(name, b"x")
    told = write_report(dataset(path), out, "en")
    assert set(told) == {say(f"marks.lost.{part}", "en") for part in ("macros", "images", "pivots", "controls")}
    assert excel.parts(out)["charts"] == 1


def test_macros_stay_in_an_xlsm(own: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.xlsm"
    with ZipFile(own) as old, ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "[Content_Types].xml":
                content = content.replace(b"spreadsheetml.sheet.main+xml", b"x").replace(
                    b"application/vnd.openxmlformats-officedocument.x",
                    b"application/vnd.ms-excel.sheet.macroEnabled.main+xml",
                )
            new.writestr(name, content)
        new.writestr("xl/vbaProject.bin", b"macro")
    assert say("marks.lost.macros", "zh") not in write_report(dataset(path), tmp_path / "kept.xlsm", "zh")
    with ZipFile(tmp_path / "kept.xlsm") as packed:
        assert packed.read("xl/vbaProject.bin") == b"macro"
        assert b"macroEnabled" in packed.read("[Content_Types].xml")
    assert say("marks.lost.macros", "zh") in write_report(dataset(path), tmp_path / "plain.xlsx", "zh")


def test_a_csv_becomes_a_workbook_with_the_same_rows(tmp_path: Path, reading: Callable[..., None]) -> None:
    path, out = tmp_path / "a.csv", tmp_path / "out.xlsx"
    path.write_text("x")
    reading(sheets=(Sheet(None, (Row(1, ("问", "答")), Row(2, ("一", "007")), Row(5, ("", "二")))),))
    known = dataset(path, columns={"question": "A"}, issues=(bad(2, "B2", "warning"), bad(5), bad(3, what="空")))
    assert write_report(known, out, "zh") == ()
    sheet = load_workbook(out)["Sheet1"]
    assert [c.value for c in sheet[2]] == ["一", "007"] and sheet["B5"].value == "二"
    assert colour(sheet["B2"]) == workbook.COLOURS["warning"]
    assert "问题 甲" in sheet["A5"].comment.text and "问题 空" in sheet["A3"].comment.text


def test_json_records_become_columns(tmp_path: Path, reading: Callable[..., None]) -> None:
    path, out = tmp_path / "a.jsonl", tmp_path / "out.xlsx"
    path.write_text("x")
    reading(records=(Record(1, {"q": "一", "a": 0}), Record(4, {"q": "二", "tags": ["x", None]}), Record(9, "散句")))
    write_report(dataset(path, columns={"question": "q"}, issues=(bad(4), bad(1, "a", "advice"))), out, "en")
    sheet = load_workbook(out).worksheets[0]
    assert list(sheet.iter_rows(values_only=True)) == [
        ("Row in your file", "q", "a", "tags", None), ("1", "一", "0", None, None),
        ("4", "二", None, '["x", null]', None), ("9", None, None, None, "散句"),
    ]  # fmt: skip
    assert colour(sheet["B3"]) == workbook.COLOURS["error"] and colour(sheet["C2"]) == workbook.COLOURS["advice"]


def test_text_lines_become_rows(tmp_path: Path, reading: Callable[..., None]) -> None:
    path, out = tmp_path / "a.txt", tmp_path / "out.xlsx"
    path.write_text("x")
    reading(lines=(Line(1, "问：=1+1"), Line(3, "答：二")))
    write_report(dataset(path, issues=(bad(3),)), out, "zh")
    sheet = load_workbook(out).worksheets[0]
    assert sheet["B3"].value == "答：二" and sheet["B3"].comment is not None


def test_too_large_a_file_gets_the_findings_only(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(excel, "MAX_OWN_BYTES", 100)
    out = tmp_path / "out.xlsx"
    assert write_report(dataset(own, issues=(bad(3),)), out, "zh") == (say("marks.lost.rows", "zh"),)
    assert load_workbook(out).sheetnames == ["Postil检查结果"]


# ── what is never done ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("text", HOSTILE)
def test_attack_11_no_text_of_a_file_becomes_a_formula(text: str, tmp_path: Path, reading: Callable[..., None]) -> None:
    path, out = tmp_path / "a.csv", tmp_path / "out.xlsx"
    path.write_text("x")
    reading(sheets=(Sheet(None, (Row(1, ("问", "答")), Row(2, (text, text)))),))
    known = dataset(path, issues=(bad(2, "A2", what=text),), repaired=(Repair("mended", 2, text, text),))
    write_report(known, out, "zh")
    write_answers(path, tmp_path / "answers.xlsx", None, 1, {2: text}, "zh")
    for written in (out, tmp_path / "answers.xlsx"):
        assert "<f>" not in xml(written) and "<f " not in xml(written)
        for sheet in load_workbook(written):
            assert not [c.coordinate for row in sheet for c in row if c.data_type in "fe"]
        assert load_workbook(written).worksheets[0]["A2"].value == text
    assert read_answers(tmp_path / "answers.xlsx", {2: text.strip()}, "A") == {2: text}


@pytest.mark.parametrize("text", [t for t in HOSTILE if t.strip()[0] in "=+-@＝＋－＠"])
def test_attack_11_what_looks_like_a_formula_is_quoted(text: str) -> None:
    cell = Workbook().worksheets[0]["A1"]
    assert excel.put_text(cell, text).quotePrefix
    assert not excel.put_text(Workbook().worksheets[0]["A1"], "正常 a=b").quotePrefix


def test_characters_that_a_workbook_cannot_hold_are_shown_as_unknown(tmp_path: Path) -> None:
    book = Workbook()
    excel.put_text(book.worksheets[0]["A1"], "a\x00b\x1f\ud83dc\uffff" + "字" * 40_000)
    excel.save(book, tmp_path / "a.xlsx")
    value = load_workbook(tmp_path / "a.xlsx").worksheets[0]["A1"].value
    assert value.startswith("a\N{REPLACEMENT CHARACTER}b") and len(value) == excel.MAX_TEXT and value.endswith("…")


@pytest.mark.parametrize("name, code", [("own.xlsx", "output_is_input"), ("no/out.xlsx", "output_no_folder"),
                                        ("out.csv", "output_not_xlsx"), ("out.xlsm", "output_not_xlsx")])  # fmt: skip
def test_a_name_that_will_not_do_is_refused(own: Path, name: str, code: str) -> None:
    before = own.read_bytes()
    for write in (lambda p: write_report(dataset(own), p), lambda p: write_answers(own, p, None, 1, {})):
        with pytest.raises(FileError) as raised:
            write(own.parent / name)
        assert raised.value.code == code
    assert own.read_bytes() == before


def test_a_link_to_the_input_is_the_input(own: Path) -> None:
    link = own.parent / "link.xlsx"
    link.symlink_to(own)
    with pytest.raises(FileError, match=r"."):
        write_report(dataset(own), link)


def test_a_write_that_fails_leaves_the_old_file_and_no_other(own: Path, tmp_path: Path, monkeypatch: Any) -> None:
    out = tmp_path / "out.xlsx"
    write_report(dataset(own), out)
    before, files = out.read_bytes(), sorted(tmp_path.iterdir())

    def full(self: Any, name: Any) -> None:
        Path(name).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Workbook, "save", full)
    with pytest.raises(OSError, match="No space"):
        write_report(dataset(own), out)
    assert out.read_bytes() == before and sorted(tmp_path.iterdir()) == files


# ── answers ───────────────────────────────────────────────────────────────────────────────────────


def test_answers_come_back_as_a_new_column(own: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.xlsx"
    write_answers(own, out, "数据's", 2, {3: "九点下班", 5: "=可以"}, "zh")
    sheet = load_workbook(out)["数据's"]
    assert [cell.value for cell in sheet["D"]] == [None, "批注回答", "九点下班", None, "=可以"]
    assert sheet["D5"].data_type == "s" and sheet["B4"].data_type == "f" and sheet["A3"].font.bold


def test_answering_goes_on_where_it_stopped(own: Path, tmp_path: Path) -> None:
    out, asked = tmp_path / "out.xlsx", {3: "答：几点下班？", 4: "答：包邮吗？", 5: "答：能退吗？"}
    assert read_answers(out, asked, "A") == {}
    write_answers(own, out, "数据's", 2, {3: "九点", 4: "包"}, "en")
    assert read_answers(out, asked, "A") == {3: "九点", 4: "包"}
    assert read_answers(out, {**asked, 4: "答：邮费多少？"}, "A") == {3: "九点"}, "another question: asked again"
    assert read_answers(own, asked, "A") == {}, "not a file that we wrote"


def test_an_answer_to_be_looked_at_is_coloured_and_stays_so_when_answering_goes_on(own: Path, tmp_path: Path) -> None:
    out, asked = tmp_path / "out.xlsx", {3: "答：几点下班？", 4: "答：包邮吗？", 5: "答：能退吗？"}
    assert read_doubtful(out, asked, "A") == set()
    write_answers(own, out, "数据's", 2, {3: "九点", 4: "包包包包包包"}, "zh", doubtful={4})
    assert read_doubtful(out, asked, "A") == {4} and read_answers(out, asked, "A") == {3: "九点", 4: "包包包包包包"}
    cell = load_workbook(out)["数据's"]["D4"]
    assert cell.comment is not None and "反复" in cell.comment.text
    write_answers(
        own, out, "数据's", 2, {3: "九点", 4: "包包包包包包", 5: "能"}, "zh", doubtful=read_doubtful(out, asked, "A")
    )
    assert read_doubtful(out, asked, "A") == {4}


def test_answers_are_found_when_the_user_has_moved_the_column(own: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.xlsx"
    write_answers(own, out, "数据's", None, {3: "九点"}, "en")
    again = tmp_path / "again.xlsx"
    write_answers(out, again, "数据's", 2, {3: "十点", 4: "包"}, "zh")
    sheet = load_workbook(again)["数据's"]
    assert sheet.max_column == 4 and sheet["D3"].value == "十点" and sheet["D2"].value == "批注回答"


def test_answers_to_other_files_go_to_a_new_workbook(tmp_path: Path, reading: Callable[..., None]) -> None:
    path, out = tmp_path / "a.csv", tmp_path / "out.xlsx"
    with path.open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened).writerows([["问"], ["一"], [], ["二"]])
    reading(sheets=(Sheet(None, (Row(1, ("问",)), Row(2, ("一",)), Row(4, ("二",)))),))
    write_answers(path, out, None, 1, {2: "壹", 4: "贰"}, "en")
    assert list(load_workbook(out).worksheets[0].iter_rows(values_only=True)) == [
        ("问", "Postil answer"), ("一", "壹"), (None, None), ("二", "贰")
    ]  # fmt: skip
    assert read_answers(out, {2: "一", 4: "二"}, "A") == {2: "壹", 4: "贰"}


def test_answers_to_records_go_by_their_line(tmp_path: Path, reading: Callable[..., None]) -> None:
    path, out = tmp_path / "a.jsonl", tmp_path / "out.xlsx"
    path.write_text(json.dumps({"q": "一"}))
    reading(records=(Record(1, {"q": "一"}), Record(7, {"q": "二"})))
    write_answers(path, out, None, None, {7: "贰"}, "en")
    assert list(load_workbook(out).worksheets[0].iter_rows(values_only=True)) == [
        ("Row in your file", "q", "Postil answer"), ("1", "一", None), ("7", "二", "贰")
    ]  # fmt: skip
    assert read_answers(out, {1: "一", 7: "二"}, "q") == {7: "贰"}


def test_a_column_with_colour_only_is_free(tmp_path: Path) -> None:
    book = Workbook()
    book.worksheets[0]["A1"] = "问"
    book.worksheets[0]["Z9"].fill = PatternFill("solid", fgColor="FFFF00")
    book.save(tmp_path / "own.xlsx")
    write_answers(tmp_path / "own.xlsx", tmp_path / "out.xlsx", None, 1, {2: "好"}, "en")
    assert load_workbook(tmp_path / "out.xlsx").worksheets[0]["B2"].value == "好"


def test_real_files_go_through_the_real_reader(tmp_path: Path) -> None:
    path, out = tmp_path / "a.csv", tmp_path / "out.xlsx"
    path.write_bytes("问题,答案\r\n几点下班？,=1+1\r\n包邮吗？,包\r\n".encode("gb18030"))
    write_report(dataset(path, columns={"question": "A", "answer": "B"}, issues=(bad(2, "B2"),)), out, "zh")
    sheet = load_workbook(out).worksheets[0]
    assert [c.value for c in sheet["B"]] == ["答案", "=1+1", "包"] and sheet["B2"].data_type == "s"
    assert sheet["B2"].comment is not None


@pytest.mark.timeout(40)
def test_long_sheets_take_time_in_proportion(tmp_path: Path) -> None:
    book = Workbook()
    for i in range(6_000):
        book.worksheets[0].append([f"问{i}", "答"])
    path, out, report = tmp_path / "own.xlsx", tmp_path / "out.xlsx", tmp_path / "report.xlsx"
    book.save(path)
    write_answers(path, out, None, None, dict.fromkeys(range(1, 6_001), "好"), "zh")
    assert len(read_answers(out, {i + 1: f"问{i}" for i in range(6_000)}, "A")) == 6_000
    write_report(dataset(path, issues=tuple(bad(row) for row in range(1, 3_000))), report, "zh")
    assert load_workbook(report, read_only=True).worksheets[1].max_row == 6 + 2_999


def test_answers_to_dialogues_and_blocks_are_found_again(tmp_path: Path, reading: Callable[..., None]) -> None:
    path, out = tmp_path / "a.jsonl", tmp_path / "out.xlsx"
    path.write_text("x")
    reading(records=(Record(1, {"messages": [{"role": "user", "content": "一加一？"}]}), Record(2, {"q": "二加二？"})))
    write_answers(path, out, None, None, {1: "二", 2: "四"}, "zh")
    assert read_answers(out, {1: "一加一？", 2: "二加二？"}, "messages") == {1: "二", 2: "四"}
    assert read_answers(out, {1: "三加三？", 2: "四加四？"}, "messages") == {}


# ── what a person has put right ───────────────────────────────────────────────────────────────────


def edit(row: int, cell: str, before: str, after: str) -> Repair:
    return Repair("edited_by_user", row, before, after, cell)


def test_corrections_stand_in_the_workbook_with_what_stood_there(own: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.xlsx"
    mended = (edit(3, "B3", "九点", "晚上九点"), edit(5, "B5", "", "=七天内可退"), edit(1, "B1", "答疑表", "不"))
    left = Left(4, "left_out_by_user")
    write_report(dataset(own, sheet="数据's", columns={"question": "A"}, repaired=mended, dropped=(left,)), out, "zh")
    sheet = load_workbook(out)["数据's"]
    assert sheet["B3"].value == "晚上九点" and "原来是：九点" in sheet["B3"].comment.text
    assert sheet["B5"].value == "=七天内可退" and sheet["B5"].data_type == "s"
    assert sheet["A1"].value == "答疑表"  # the inside of a merged range has no text of its own
    assert say("issue.left_out_by_user.message", "zh") in sheet["A4"].comment.text
    assert load_workbook(own)["数据's"]["B3"].value == "九点"


def test_corrections_stand_in_the_copy_of_any_other_file(tmp_path: Path, reading: Callable[..., None]) -> None:
    path, out = tmp_path / "a.csv", tmp_path / "out.xlsx"
    path.write_text("x")
    reading(sheets=(Sheet(None, (Row(1, ("问", "答")), Row(2, ("一", "007")))),))
    write_report(dataset(path, columns={"question": "A"}, repaired=(edit(2, "B2", "007", "邦德"),)), out, "en")
    sheet = load_workbook(out)["Sheet1"]
    assert sheet["B2"].value == "邦德" and "In your file: 007" in sheet["B2"].comment.text


def test_corrections_of_records_stand_in_their_column(tmp_path: Path, reading: Callable[..., None]) -> None:
    path, out = tmp_path / "a.jsonl", tmp_path / "out.xlsx"
    path.write_text("x")
    reading(format="jsonl", records=(Record(1, {"q": "一", "a": "甲"}), Record(4, {"q": "二", "a": "乙"})))
    write_report(dataset(path, columns={"question": "q"}, repaired=(edit(4, "4:a", "乙", "丙"),)), out, "zh")
    sheet = load_workbook(out).worksheets[0]
    assert sheet["C3"].value == "丙" and "原来是：乙" in sheet["C3"].comment.text
