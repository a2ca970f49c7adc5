"""Tables on their side: questions in one row, answers in the next. A row number is then that of a column."""

from __future__ import annotations

from openpyxl import load_workbook

from postil.dataset import load, write_report

from .made import PAIRS, accounted, codes, csv, said, workbook

PLAIN = [[("user", question), ("assistant", answer)] for question, answer in PAIRS]
ASKED, ANSWERED = [q for q, _ in PAIRS], [a for _, a in PAIRS]


def test_headings_in_the_first_column(tmp_path):
    rows = [["编号", *range(1, 13)], ["问题", *ASKED], ["答案", *ANSWERED], ["负责人", *["店长"] * 12]]
    dataset = load(workbook(tmp_path / "a.xlsx", {"横": rows}))
    assert said(dataset) == PLAIN
    assert [example.rows for example in dataset.examples] == [(n,) for n in range(2, 14)]
    assert dict(dataset.columns) == {"question": "2", "answer": "3"}
    (issue,) = [issue for issue in dataset.issues if issue.code == "sheet_across"]
    assert "2" in issue.message("en") and "3" in issue.message("zh")
    accounted(dataset)


def test_no_headings_at_all(tmp_path):
    dataset = load(workbook(tmp_path / "a.xlsx", {"横": [ASKED, ANSWERED]}))
    assert said(dataset) == PLAIN
    assert codes(dataset) == {"sheet_across"}


def test_a_csv_file_on_its_side(tmp_path):
    dataset = csv(tmp_path / "a.csv", "问题," + ",".join(ASKED) + "\n答案," + ",".join(ANSWERED) + "\n")
    assert said(dataset) == PLAIN


def test_cells_are_named_and_marked_where_they_stand(tmp_path):
    rows = [["问题", *ASKED[:5], "没人答吗？", *ASKED[5:]], ["答案", *ANSWERED[:5], None, *ANSWERED[5:]]]
    path = workbook(tmp_path / "a.xlsx", {"横": rows})
    dataset = load(path)
    assert [(left.row, left.code) for left in dataset.dropped] == [(7, "missing_answer")]
    (issue,) = [issue for issue in dataset.issues if issue.code == "missing_answer"]
    assert issue.cell == "G2"
    write_report(dataset, tmp_path / "b.xlsx", "en")
    sheet = load_workbook(tmp_path / "b.xlsx")["横"]
    assert sheet["G2"].comment and not sheet["G1"].comment


def test_a_small_table_that_stands_is_left_standing(tmp_path):
    dataset = csv(tmp_path / "a.csv", "问题,答案\n有货吗？,有。\n包邮吗？,包。\n")
    assert dict(dataset.columns) == {"question": "A", "answer": "B"}


def test_a_heading_of_two_lines(tmp_path):
    rows = [["问题", "答复", None], [None, "书面", "口语"], *[[q, a, f"亲，{a}"] for q, a in PAIRS]]
    path = workbook(tmp_path / "a.xlsx", {"表": rows}, [("表", "A1:A2"), ("表", "B1:C1")])
    dataset = load(path)
    assert said(dataset) == PLAIN
    assert dataset.header_row == 2
    assert "C 口语" in next(i for i in dataset.issues if i.code == "columns_not_used").message("en")
