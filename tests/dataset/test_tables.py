import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postil.dataset import tables
from postil.dataset.raw import Findings
from postil.dataset.tables import find_delimiter, is_markdown, read_markdown, read_table, split_lines
from postil.errors import FileError


def table(text, delimiter=None, named=True):
    lines, found = split_lines(text), Findings()
    sheet = read_table(lines, delimiter or find_delimiter(lines, named), found)
    return [row.cells for row in sheet.rows], found


def codes(found):
    return [(issue.code, issue.row) for issue in found.issues]


def test_lines_break_at_lf_crlf_and_cr_only():
    assert split_lines("a\nb\r\nc\rd\u2028e\x0bf\n") == ["a", "b", "c", "d\u2028e\x0bf"]
    assert split_lines("") == []


@pytest.mark.parametrize("sign", [",", ";", "\t", "|", "，"])
def test_every_delimiter_is_found(sign):
    text = sign.join(["问题", "回答"]) + "\n" + sign.join(["怎么退货", "可以退"]) + "\n" + sign.join(["几天", "三天"])
    assert find_delimiter(split_lines(text), named_table=True) == sign
    assert find_delimiter(split_lines(text), named_table=False) == sign


def test_a_sign_that_is_in_all_texts_does_not_outdo_the_delimiter():
    text = "Question;Answer\n" + "".join(f"Size, colour {i}?;4,90 EUR, or 5,00\n" for i in range(9))
    assert find_delimiter(split_lines(text), named_table=True) == ";"


@pytest.mark.parametrize(
    "text",
    [
        "你好,世界\n今天,天气不错,我们走\n",
        "好的,谢谢\n不客气,再见\n慢走,欢迎再来\n",
        "问：怎么退货,多久\n答：在订单里点,三天\n",
        "一段话，说了很多，没有表。\n另一段话，也说了很多。\n",
    ],
)
def test_prose_is_no_table(text):
    assert find_delimiter(split_lines(text), named_table=False) is None


def test_one_column_of_texts_is_not_cut_at_its_commas():
    text = "评论\n杯子漏水,客服还不理人\n很好\n物流快,包装好,会回购\n一般般\n"
    assert find_delimiter(split_lines(text), named_table=True) is None
    rows, _ = table(text)
    assert rows[1] == ("杯子漏水,客服还不理人",)


def test_excel_says_which_sign_it_uses():
    rows, _ = table("sep=;\nq;a,b\nx;y\n")
    assert rows == [("q", "a,b"), ("x", "y")]


def test_quotes_delimiters_line_breaks_and_doubled_quotes():
    rows, found = table('q,a\n"x, y","he said ""hi"""\n"one\ntwo\n\nthree",z\n,\n"",last\n')
    assert rows == [("q", "a"), ("x, y", 'he said "hi"'), ("one\ntwo\n\nthree", "z"), ("", ""), ("", "last")]
    assert found.issues == []


def test_row_numbers_are_excels():
    lines = split_lines('q,a\n"one\ntwo",x\n\nlast,y\n\n\n')
    sheet = read_table(lines, ",", Findings())
    assert [(row.number, row.cells[0]) for row in sheet.rows] == [(1, "q"), (2, "one\ntwo"), (3, ""), (4, "last")]


def test_a_quotation_mark_that_is_an_inch_stays_text():
    rows, found = table('提问\t解答\n5"屏有吗？\t有，5"和6"都有\n"我的-权益"在哪？\t在"我的"里\n')
    assert rows[1:] == [('5"屏有吗？', '有，5"和6"都有'), ('"我的-权益"在哪？', '在"我的"里')]
    assert found.issues == []


@pytest.mark.parametrize("tail", ["", '"quoted, too",n\n', 'x,"n"\n'])
def test_attack_10_an_unclosed_quote_does_not_swallow_the_file(tail):
    body = "".join(f"q{i},a{i}\n" for i in range(50))
    rows, found = table('q,a\n"open,y\n' + body + tail)
    assert rows[1] == ('"open', "y")
    assert rows[2:52] == [(f"q{i}", f"a{i}") for i in range(50)]
    assert codes(found) == [("quote_unclosed", 2)]


def test_an_unclosed_quote_that_meets_a_later_one_does_not_swallow_the_rows_between():
    body = "".join(f"q{i},a{i}\n" for i in range(50))
    rows, found = table('q,a\n"open,y\n' + body + 'five",z\n')
    assert len(rows) == 53
    assert ("quote_unclosed", 2) in codes(found)


def test_a_row_with_more_cells_than_the_others_is_reported():
    _, found = table("q,a\n" + "x,y\n" * 5 + "x,y,z\n")
    assert [(issue.code, issue.row, issue.cell) for issue in found.issues] == [("extra_cells", 7, "C7")]


def test_an_empty_last_column_is_nothing_to_report():
    _, found = table("q,a,note\nx,y,\nx,y,n\nx,y,\nx,y\n")
    assert found.issues == []


def test_a_cell_without_end_is_an_error_with_its_row(monkeypatch):
    monkeypatch.setattr(tables, "MAX_CELL", 1000)
    for text in ("q,a\n" + "x" * 1001 + ",y\n", 'q,a\n"' + "x\n" * 600 + '",y\n'):
        with pytest.raises(FileError) as caught:
            read_table(split_lines(text), ",", Findings())
        assert (caught.value.code, caught.value.rows) == ("cell_too_large", (2,))


def test_too_many_rows_and_columns_are_errors(monkeypatch):
    monkeypatch.setattr(tables, "MAX_ROWS", 10)
    with pytest.raises(FileError, match="10"):
        read_table(["a,b"] * 11, ",", Findings())
    with pytest.raises(FileError) as caught:
        read_table(["a,b", "," * 3000], ",", Findings())
    assert (caught.value.code, caught.value.rows) == ("too_many_columns", (2,))


def test_nothing_but_quotation_marks_is_read_in_linear_time():
    rows = read_table(['"a'] * 100_000, ",", Findings()).rows
    assert len(rows) >= 100_000 // 1000


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=12)


@given(
    st.lists(st.lists(CELLS, min_size=2, max_size=4), min_size=1, max_size=8), st.sampled_from([",", ";", "\t", "|"])
)
def test_what_csv_writes_is_read_back(rows, sign):
    """Every cell quoted, as Excel and the standard library may write it. Nothing is lost, nothing is added."""
    written = io.StringIO()
    csv.writer(written, delimiter=sign, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerows(rows)
    lines = split_lines(written.getvalue())
    parsed = [row.cells for row in tables._Parser(lines, sign, Findings()).rows()]
    assert parsed == [tuple(row) for row in rows]


def test_commas_of_sentences_without_marks_are_kept():
    rows, found = table('question,answer\nWhere?,"Here, there"\nHow?,Open it, then press, and wait\nWhy?,So.\n')
    assert rows[1:] == [("Where?", "Here, there"), ("How?", "Open it, then press, and wait"), ("Why?", "So.")]
    assert [(repair.code, repair.row, repair.cell) for repair in found.repaired] == [("commas_kept", 3, "B3")]
    assert not found.issues


def test_cells_beyond_the_header_are_told_though_many_rows_have_them():
    lines = [f"q{i},first{i},second" if i % 3 else f"q{i},first{i}" for i in range(9)]
    rows, found = table("question,answer\n" + "\n".join(lines) + "\n")
    assert rows[2] == ("q1", "first1,second")
    assert codes(found) == [("commas_guessed", i + 2) for i in range(9) if i % 3]
    assert [repair.row for repair in found.repaired] == [i + 2 for i in range(9) if i % 3]


def test_a_column_without_a_heading_is_no_surplus():
    _, found = table("question,answer\n" + "".join(f"q{i},a{i},x{i}\n" for i in range(9)))
    assert not found.issues and not found.repaired


def test_a_markdown_table_in_text():
    lines = ["# FAQ", "", "| 问题 | 答案 |", "|:---|---:|", "| 多久？ | 两天 \\| 三天 |", "text"]
    assert is_markdown(lines) and not is_markdown(["a | b", "c | d"]) and not is_markdown(["---", "a|b"])
    rows = [row.cells for row in read_markdown(lines).rows]
    assert rows == [("# FAQ",), ("",), ("问题", "答案"), (), ("多久？", "两天 | 三天"), ("text",)]
