from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from postil.dataset import load, require_enough, write_jsonl
from postil.errors import DataError, FileError
from tests.dataset.made import PAIRS, accounted, codes, csv, said, text, workbook


def test_what_a_dataset_says_of_its_file(tmp_path: Path) -> None:
    path = text(tmp_path / "a.csv", "问题,答案\n" + "".join(f"{q},{a}\n" for q, a in PAIRS))
    found = load(path)
    accounted(found)
    assert (found.format, found.encoding, found.rows, found.used, found.shape) == ("csv", "UTF-8", 13, 12, "table")
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.columns == {"question": "A", "answer": "B"} and found.column_names["answer"] == "答案"
    assert json.dumps(found.as_json(), ensure_ascii=False)


def test_written_and_read_again_is_the_same(tmp_path: Path) -> None:
    found = csv(tmp_path / "a.csv", "系统提示词,问题,答案\n" + "".join(f"简短,{q},{a}\n" for q, a in PAIRS))
    write_jsonl(found, tmp_path / "b.jsonl")
    again = load(tmp_path / "b.jsonl")
    assert said(again) == said(found) and not codes(again)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_writing_where_it_cannot_be(tmp_path: Path) -> None:
    found = csv(tmp_path / "a.csv", "问题,答案\n" + "".join(f"{q},{a}\n" for q, a in PAIRS))
    with pytest.raises(FileError) as error:
        write_jsonl(found, tmp_path / "nowhere" / "b.jsonl")
    assert error.value.code == "file_not_written"


def test_too_few_to_train(tmp_path: Path) -> None:
    found = csv(tmp_path / "a.csv", "问题,答案\n" + "".join(f"{q},{a}\n" for q, a in PAIRS[:9]) + "问？,\n")
    with pytest.raises(DataError) as error:
        require_enough(found)
    assert error.value.code == "too_few_examples" and error.value.rows == (11,)
    require_enough(csv(tmp_path / "b.csv", "问题,答案\n" + "".join(f"{q},{a}\n" for q, a in PAIRS[:10])))


def test_only_a_header(tmp_path: Path) -> None:
    found = csv(tmp_path / "a.csv", "问题,答案\n")
    accounted(found)
    assert not found.examples and {issue.code for issue in found.issues} == {"too_few_rows"}


def test_a_sheet_that_is_not_there(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", {"数据": [("问题", "答案"), *PAIRS]})
    with pytest.raises(FileError) as error:
        load(path, sheet="没有")
    assert "数据" in str(error.value)


def test_a_broken_file_is_a_coded_error(tmp_path: Path) -> None:
    with pytest.raises(FileError):
        load(tmp_path / "missing.csv")


def test_lines_of_which_none_is_json_are_not_nothing(tmp_path: Path) -> None:
    """As an export that was cut off leaves them."""
    with pytest.raises(DataError) as refused:
        load(text(tmp_path / "a.jsonl", '{"messages": [{"role":\n' * 5))
    assert (refused.value.code, refused.value.rows, refused.value.values["n"]) == ("no_json", (1, 2, 3), 5)
    assert "{" in refused.value.remedy("en") and "{{" not in refused.value.remedy("en")


def test_one_column_of_questions_and_answers_in_turn(tmp_path: Path) -> None:
    rows = [["售后FAQ"], *([line] for q, a in PAIRS for line in (f"问：{q}", f"答：{a}"))]
    found = load(workbook(tmp_path / "a.xlsx", {"FAQ": rows}))
    accounted(found)
    assert said(found) == [[("user", q), ("assistant", a)] for q, a in PAIRS]
    assert [left.row for left in found.not_data] == [1] and found.sheet == "FAQ"


def test_a_column_that_a_workbook_does_not_have_is_named(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", {"FAQ": [["问题", "答案"], *map(list, PAIRS)]})
    with pytest.raises(DataError) as error:
        load(path, columns={"question": "没有这列"})
    assert error.value.code == "column_not_found" and "没有这列" in error.value.cause()
