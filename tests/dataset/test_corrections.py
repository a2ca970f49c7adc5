"""What a person puts right is seen by every check, is listed, and never touches the file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postil.dataset import load, read_reading
from postil.dataset.raw import Line, Raw, Record, Row, Sheet
from postil.errors import DataError, FileError
from postil.records import Corrections, Dataset
from tests.dataset.made import PAIRS, accounted, codes, jsonl, said, text, workbook

HEAD = ("问题", "答案")
MADE = Path("made.csv")


def table(*rows: tuple[str, ...]) -> Raw:
    made = tuple(Row(number, row) for number, row in enumerate((HEAD, *PAIRS, *rows), 1))
    return Raw(Path("made.xlsx"), "0" * 64, "xlsx", "", None, sheets=(Sheet("话术", made),))


def csv(*rows: tuple[str, ...]) -> Raw:
    made = tuple(Row(number, row) for number, row in enumerate(rows, 1))
    return Raw(MADE, "0", "csv", "UTF-8", ",", sheets=(Sheet(None, made),))


def refused(code: str, raw: Raw, **options: object) -> DataError:
    with pytest.raises(DataError) as error:
        load(raw, **options)  # type: ignore[arg-type]
    assert error.value.code == code and error.value.cause("zh") and error.value.remedy("en")
    return error.value


def test_an_edit_is_seen_by_every_check_and_listed() -> None:
    raw = table(("多久到？", ""), ("坏了怎么办？", "<p>联系客服。</p>"))
    before = load(raw)
    assert {"missing_answer", "html_left"} <= codes(before)
    after = load(raw, edits={"B14": "三天。", "B15": "联系客服。"})
    accounted(after)
    assert not codes(after) & {"missing_answer", "html_left"}
    assert said(after)[-2:] == [
        [("user", "多久到？"), ("assistant", "三天。")],
        [("user", "坏了怎么办？"), ("assistant", "联系客服。")],
    ]
    assert [(r.row, r.cell, r.before, r.after) for r in after.repaired] == [
        (14, "B14", "", "三天。"),
        (15, "B15", "<p>联系客服。</p>", "联系客服。"),
    ]
    assert after.edited == 2 and after.as_json()["edited"] == 2


def test_an_edit_may_make_a_problem() -> None:
    found = load(table(), edits={"B3": "电话13812345678"})
    assert any(issue.code == "personal_mobile" and issue.cell == "B3" for issue in found.issues)


def test_a_row_left_out_is_dropped_by_its_owner_and_told_once() -> None:
    found = load(table(("多久到？", "")), without=[3, 14])
    accounted(found)
    assert [(left.row, left.code) for left in found.dropped] == [(3, "left_out_by_user"), (14, "left_out_by_user")]
    assert "missing_answer" not in codes(found) and not found.untold and found.left_out == 2
    assert not any(3 in example.rows for example in found.examples)


@pytest.mark.parametrize("place", ["B99", "Z2", "B0", "b2", "B2:C3", "2:答案", "", "说明!B2", "A" * 300])
def test_a_place_that_is_not_there_is_refused(place: str) -> None:
    refused("edit_not_there", table(), edits={place: "x"})


def test_a_row_that_is_not_there_is_refused() -> None:
    assert refused("row_not_there", table(), without=[2, 99, 0]).rows == (0, 99)


def test_an_empty_cell_can_be_filled_and_a_filled_one_emptied() -> None:
    raw = table(("只有问题？",))
    assert "missing_answer" not in codes(load(raw, edits={"B14": "有。"}))
    assert "missing_question" in codes(load(raw, edits={"A2": "", "B14": "有。"}))


def test_only_the_sheet_with_the_data_is_changed(tmp_path: Path) -> None:
    path = workbook(tmp_path / "two.xlsx", {"说明": [("怎么用",)], "话术": [HEAD, *PAIRS]})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    found = load(path, edits={"B2": "新的答复。"}, without=[4])
    assert found.sheet == "话术" and said(found)[0][1] == ("assistant", "新的答复。")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest == found.sha256


def test_a_header_can_be_put_right() -> None:
    raw = csv(("甲", "答案"), *PAIRS)
    assert load(raw, edits={"A1": "问题"}).column_names["question"] == "问题"


def test_the_reader_s_own_findings_go_with_the_cell_and_the_row(tmp_path: Path) -> None:
    rows = [HEAD, *PAIRS, ("一？", "#N/A"), ("二？", "#N/A")]
    path = workbook(tmp_path / "errors.xlsx", {"话术": rows})
    assert [issue.cell for issue in load(path).issues if issue.code == "error_cell"] == ["B14", "B15"]
    found = load(path, edits={"B14": "可以。"}, without=[15])
    assert "error_cell" not in codes(found) and "missing_answer" not in codes(found)


def test_a_table_on_its_side_is_put_right_by_the_addresses_that_excel_shows() -> None:
    raw = csv(*zip(HEAD, *PAIRS, strict=True))
    assert "sheet_across" in codes(load(raw))
    found = load(raw, edits={"C2": "换了。"}, without=[2])
    accounted(found)
    assert said(found)[0] == [("user", PAIRS[1][0]), ("assistant", "换了。")]
    assert [left.row for left in found.dropped] == [2]


CHAT = [
    ("会话ID", "角色", "内容"), ("S1", "客户", "在吗"), ("S1", "客服", "在的"),
    ("S1", "客户", "多少钱"), ("S1", "客服", "十元"),
]  # fmt: skip


def test_leaving_a_message_out_does_not_divide_a_chat() -> None:
    found = load(csv(*(row[1:] for row in CHAT)), without=[3])
    assert said(found) == [[("user", "在吗\n多少钱"), ("assistant", "十元")]]


def test_an_id_that_stands_in_a_row_left_out_is_still_that_of_the_rows_below() -> None:
    rows = [("会话ID", "客户", "客服"), ("S1", "在吗", "在的"), ("S2", "多少钱", "十元"), ("", "包邮吗", "包邮")]
    raw = csv(*rows)
    assert [[text for _, text in one] for one in said(load(raw, without=[3]))] == [["在吗", "在的"], ["包邮吗", "包邮"]]


RECORDS = [
    {"instruction": "怎么退？", "output": "点申请。"}, {"instruction": "多久到？"},
    {"messages": [{"role": "user", "content": "在吗"}, {"role": "assistant", "content": "在"}]},
    {"a.b": {"c": 1}, "output": "x", "question": "y"},
]  # fmt: skip


@pytest.mark.parametrize(
    ("place", "row", "before"),
    [("1:output", 0, "点申请。"), ("1:answer", 0, "点申请。"), ("2:output", 1, ""), ("2:answer", 1, ""),
     ("3:messages.2.content", 2, "在"), ("4:a.b.c", 3, "1"), ("1:question", 0, "怎么退？")],
)  # fmt: skip
def test_a_text_of_a_record_goes_by_its_path(tmp_path: Path, place: str, row: int, before: str) -> None:
    path = jsonl(tmp_path / "made.jsonl", RECORDS)
    found = load(path, edits={place: "新的"})
    accounted(found)
    assert [(r.row, r.cell, r.before, r.after) for r in found.repaired if r.code == "edited_by_user"] == [
        (row + 1, place, before, "新的")
    ]
    assert json.loads(path.read_text("utf-8").splitlines()[row]) == RECORDS[row]


@pytest.mark.parametrize(
    "place",
    ["9:output", "1:nothing", "3:messages.7.content", "3:messages.x", "3:messages.0.content", "B2", "1:", "x:output"],
)
def test_a_path_that_is_not_there_is_refused(tmp_path: Path, place: str) -> None:
    path = jsonl(tmp_path / "made.jsonl", RECORDS)
    with pytest.raises(DataError) as error:
        load(path, edits={place: "x"})
    assert error.value.code == "edit_not_there"


def test_a_list_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        load(jsonl(tmp_path / "made.jsonl", RECORDS), edits={"3:messages": "x"})
    assert error.value.code == "edit_not_text"


def test_a_record_that_cannot_be_read_can_be_left_out(tmp_path: Path) -> None:
    path = text(
        tmp_path / "made.jsonl", '{"question": "a?", "answer": "b"}\n一句说明\n{"question": "c?", "answer": "d"}\n'
    )
    assert "bad_json" in codes(load(path))
    found = load(path, without=[2])
    accounted(found)
    assert "bad_json" not in codes(found) and [left.code for left in found.dropped] == ["left_out_by_user"]


def test_lines_of_text(tmp_path: Path) -> None:
    path = text(tmp_path / "made.txt", "问：怎么退？\n答：点申请。\n\n问：多久到？\n答：三天。\n")
    found = load(path, edits={"2:text": "答：点这里。"}, without=[4, 5])
    accounted(found)
    assert said(found) == [[("user", "怎么退？"), ("assistant", "点这里。")]]
    for place, new in (("2:text", "答：\n两行"), ("9:text", "x"), ("2:answer", "x")):
        with pytest.raises(DataError) as error:
            load(path, edits={place: new})
        assert error.value.code == "edit_not_there"


def test_all_rows_may_be_left_out() -> None:
    found = load(table(), without=list(range(2, 14)))
    accounted(found)
    assert not found.examples and "too_few_rows" in {issue.code for issue in found.issues}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        '{"edits": []}',
        '{"edits": {"B7": 1}}',
        '{"without": ["1"]}',
        '{"without": [true]}',
        '{"mask": 1}',
        '{"odd": 1}',
        '{"sheet": 1}',
        '{"columns": ["B"]}',
        "[" * 100_000,
    ],
)
def test_a_list_of_corrections_is_read_strictly(tmp_path: Path, content: str) -> None:
    with pytest.raises(FileError) as error:
        read_reading(text(tmp_path / "edits.json", content))
    assert error.value.code == "edits_broken" and error.value.cause("zh") and error.value.remedy("en")


def test_a_list_of_corrections_goes_to_a_file_and_back(tmp_path: Path) -> None:
    made = Corrections({"B7": "文字\n两行"}, (3, 4), True)
    assert read_reading(text(tmp_path / "edits.json", json.dumps(made.as_json()))) == made.as_json()
    whole = {"sheet": "话术", "columns": {"question": "B"}, "system": "s", "instruction": "i"}
    assert read_reading(text(tmp_path / "edits.json", json.dumps(whole))) == whole
    with pytest.raises(FileError) as error:
        read_reading(tmp_path / "none.json")
    assert error.value.code == "file_missing"


cells = st.one_of(
    st.sampled_from(["", "问题", "答案", "怎么退？", "点申请。", "<b>粗</b>", "待补充", "S1", "客户", "客服", "合计"]),
    st.text(max_size=8),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=10), st.data())
def test_whatever_is_put_right_each_row_has_one_fate(rows: list[tuple[str, ...]], data: st.DataObject) -> None:
    head = data.draw(
        st.sampled_from(
            [
                ("问题", "答案", "备注"),
                ("会话ID", "角色", "内容"),
                ("会话ID", "客户", "客服"),
                ("标准问", "相似问1", "答案"),
            ]
        )
    )
    numbers = range(1, len(rows) + 2)
    without = data.draw(st.lists(st.sampled_from(numbers), unique=True))
    places = st.builds("{}{}".format, st.sampled_from("ABC"), st.sampled_from(numbers))
    edits = data.draw(st.dictionaries(places, cells, max_size=4))
    lines = [(number, row) for number, row in enumerate((head, *rows), 1)]
    spoken = tuple(Line(n, f"问：{row[0]}答：{row[1]}".replace("\n", " ")) for n, row in lines)
    raws = (
        csv(head, *rows),
        Raw(MADE, "0", "jsonl", "", None, records=tuple(Record(n, dict(zip(head, r, strict=True))) for n, r in lines)),
        Raw(MADE, "0", "txt", "UTF-8", None, lines=spoken),
    )
    for raw in raws:
        try:
            found: Dataset = load(raw, edits=edits if raw.sheets else {}, without=without)
        except DataError as error:
            assert error.code != "edit_not_there"
            assert raw.sheets or error.code != "row_not_there"  # a table on its side has columns for rows
            continue
        accounted(found)
        used = {row for example in found.examples for row in example.rows}
        across = any(issue.code == "sheet_across" for issue in found.issues)
        assert not used & set(without) and (across or found.left_out == len(without))
