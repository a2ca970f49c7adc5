import hashlib
import json
import random
import time
from pathlib import Path

import hypothesis
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import settings
from hypothesis import strategies as st

from postil.dataset import limits
from postil.dataset.read import read
from postil.errors import FileError
from postil.locales import knows
from tests.dataset.hostile import sheet, text_cell, workbook

OWN = Path(__file__).parents[1] / "traps"
GIVEN = Path(__file__).parents[2].parent / "shared" / "traps"  # beside the checkout, where there is one
QA = "问题,回答\n怎么退货？,在订单里点退货。\n几天到？,三天。\n"


def trap_files() -> list[tuple[Path, dict]]:
    lists = [(folder, folder / name) for folder, name in ((OWN, "expect.json"), (GIVEN, "traps.json"))]
    return [
        (folder / entry["file"], entry["expect"])
        for folder, listed in lists
        if listed.exists()
        for entry in json.loads(listed.read_text("utf-8"))
    ]


def given(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_content_decides_and_not_the_name(tmp_path):
    book = workbook(tmp_path / "a.csv", sheet("<row>" + text_cell("A1", "q") + "</row>"))
    assert read(book).format == "xlsx"
    assert read(given(tmp_path, "b.xlsx", QA)).format == "csv"
    assert read(given(tmp_path, "c.txt", '{"q":"x"}\n{"q":"y"}\n')).format == "jsonl"
    assert read(given(tmp_path, "d.csv", '[{"q":"x"},{"q":"y"}]')).format == "json"
    assert read(given(tmp_path, "e.jsonl", QA)).format == "csv"
    assert read(given(tmp_path, "f", "问题\t回答\n怎么退？\t点退货。\n")).format == "tsv"
    assert read(given(tmp_path, "g.csv", "问：怎么退？\n答：点退货,三天。\n\n问：几天？\n答：三天。\n")).format == "txt"


def test_what_is_known_of_a_file(tmp_path):
    path = given(tmp_path, "a.csv", QA)
    raw = read(path)
    assert raw.path == path
    assert raw.sha256 == hashlib.sha256(QA.encode()).hexdigest()
    assert (raw.encoding, raw.delimiter) == ("UTF-8", ",")
    assert raw.sheets[0].rows[0].cells == ("问题", "回答")
    assert not raw.records and not raw.lines


def test_lines_of_a_text_keep_their_numbers(tmp_path):
    raw = read(given(tmp_path, "a.txt", "问：一\r\n答：二\r\n\r\n问：三\r\n"))
    assert [(line.number, line.text) for line in raw.lines] == [(1, "问：一"), (2, "答：二"), (3, ""), (4, "问：三")]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.csv", b"", "file_empty"),
        ("a.csv", b"\xef\xbb\xbf\r\n \n", "file_empty"),
        ("a.csv", b",,\n,,\n", "file_empty"),
        ("a.pdf", b"%PDF-1.7\n", "file_is_pdf"),
        ("a.xlsx", b"%PDF-1.7\n", "file_is_pdf"),
        ("a.docx", b"PK\x03\x04 cut", "file_truncated"),
        ("a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "WordDocument".encode("utf-16-le"), "file_is_word"),
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "file_truncated"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(50), "file_is_image"),
        ("a.jpg", b"\xff\xd8\xff\xe0" + bytes(50), "file_is_image"),
        ("a.rar", b"Rar!\x1a\x07\x01\x00", "file_is_archive"),
        ("a.gz", b"\x1f\x8b\x08\x00" + bytes(50), "file_is_archive"),
        ("a.db", b"SQLite format 3\x00" + bytes(50), "file_is_database"),
        ("a.exe", b"MZ\x90\x00" + bytes(50), "file_is_program"),
        ("a.xls", b"<html><body><table><tr><td>x", "file_is_web_page"),
        ("a.xls", b'\xef\xbb\xbf\n<?xml version="1.0"?><html xmlns="x">', "file_is_web_page"),
        ("a.xls", b'<?xml version="1.0"?><Workbook/>', "file_is_xml"),
        ("a.csv", b"abc\0\1\2\3\4\5\6" * 50, "file_not_text"),
        ("a.csv", random.Random(3).randbytes(3000), "encoding_unknown"),
        ("a.parquet", b"PAR1" + bytes(100), "file_broken"),
    ],
)
def test_what_cannot_be_read_says_what_it_is(tmp_path, name, content, code):
    with pytest.raises(FileError) as caught:
        read(given(tmp_path, name, content))
    assert caught.value.code == code
    for lang in ("zh", "en"):
        assert caught.value.cause(lang) and caught.value.remedy(lang)


def test_words_that_begin_like_other_files_are_words(tmp_path):
    assert read(given(tmp_path, "a.csv", "BM,MZ\nBM25是什么？,排序算法\n")).sheets[0].rows[0].cells == ("BM", "MZ")


def test_missing_folders_and_locked_files(tmp_path):
    for path, code in ((tmp_path / "no.csv", "file_missing"), (tmp_path, "file_is_folder")):
        with pytest.raises(FileError) as caught:
            read(path)
        assert caught.value.code == code
    with pytest.raises(FileError) as caught:
        read(Path("a\0b"))
    assert caught.value.code == "file_unreadable"


def test_a_locked_file(tmp_path, monkeypatch):
    def held(*_args, **_options):
        raise PermissionError("held by another program")

    path = given(tmp_path, "a.csv", QA)
    monkeypatch.setattr(Path, "open", held)
    with pytest.raises(FileError) as caught:
        read(path)
    assert caught.value.code == "file_locked"


def test_attack_10_a_file_of_a_gigabyte_is_refused_without_being_read(tmp_path):
    path = tmp_path / "a.csv"
    with path.open("wb") as file:
        file.truncate(1024 * limits.MB)
    start = time.monotonic()
    with pytest.raises(FileError) as caught:
        read(path)
    assert caught.value.code == "file_too_large"
    assert time.monotonic() - start < 1


def test_attack_10_one_endless_line_is_an_error_with_its_number(tmp_path):
    path = given(tmp_path, "a.txt", "好的\n" + "好" * (limits.MAX_CELL + 1))
    with pytest.raises(FileError) as caught:
        read(path)
    assert (caught.value.code, caught.value.rows) == ("cell_too_large", (2,))


def test_attack_10_zero_bytes_in_a_text_are_no_reason_to_stop(tmp_path):
    raw = read(given(tmp_path, "a.csv", "问题,回答\n怎么\0退？,点退货。\n"))
    assert raw.sheets[0].rows[1].cells == ("怎么\0退？", "点退货。")


def test_attack_10_mixed_line_breaks(tmp_path):
    raw = read(given(tmp_path, "a.csv", b"q,a\r\nx,y\rz,w\nq,v\r\n"))
    assert [row.cells for row in raw.sheets[0].rows] == [("q", "a"), ("x", "y"), ("z", "w"), ("q", "v")]


def test_broken_json_is_left_with_its_line_and_a_sentence(tmp_path):
    raw = read(given(tmp_path, "a.jsonl", '{"q":"x"}\n————\n{"q":"y"}\n'))
    assert [record.row for record in raw.records] == [1, 3]
    assert [(left.row, left.code) for left in raw.left] == [(2, "bad_json")]
    assert "————" in raw.left[0].message("zh")
    assert [(issue.code, issue.row) for issue in raw.issues] == [("bad_json", 2)]


@settings(max_examples=60, deadline=None)
@hypothesis.given(
    st.binary(max_size=60)
    | st.text("问答Qq,;\t|\"'{}[]“”：:，\r\n\0 ab1", max_size=60).map(str.encode)
    | st.text("问题怎么退货，答案三天\r\n,;", max_size=60).map(lambda text: text.encode("gb18030"))
)
def test_attack_10_whatever_the_bytes_are_there_is_an_answer(tmp_path_factory, content):
    path = given(tmp_path_factory.getbasetemp(), "any.csv", content)
    try:
        raw = read(path)
    except FileError as error:
        assert str(error)
    else:
        assert raw.sheets or raw.records or raw.lines or raw.left or raw.repaired


def test_parquet_becomes_plain_values(tmp_path):
    rows = [
        {"q": "x", "turns": [{"from": "human", "value": "hi"}], "n": 1.5, "raw": b"\xe5\xa5\xbd"},
        {"q": None, "turns": None, "n": float("nan"), "raw": None},
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    raw = read(tmp_path / "a.parquet")
    assert [record.row for record in raw.records] == [1, 2]
    assert raw.records[0].value == {**rows[0], "raw": "好"}
    assert raw.records[1].value == {"q": None, "turns": None, "n": None, "raw": None}
    whole = (tmp_path / "a.parquet").read_bytes()
    with pytest.raises(FileError) as caught:
        read(given(tmp_path, "cut.parquet", whole[: len(whole) // 2]))
    assert caught.value.code == "file_broken"


def test_a_parquet_file_that_swells_is_stopped(tmp_path):
    column = pyarrow.array(["好" * 1000]).dictionary_encode()
    column = pyarrow.DictionaryArray.from_arrays(
        pyarrow.nulls(1_500_000, pyarrow.int32()).fill_null(0), column.dictionary
    )
    pyarrow.parquet.write_table(pyarrow.table({"q": column}), tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 1_000_000
    start = time.monotonic()
    with pytest.raises(FileError) as caught:
        read(tmp_path / "a.parquet")
    assert caught.value.code in ("file_needs_memory", "file_takes_too_long", "file_bomb")
    assert time.monotonic() - start < 30


def test_a_hundred_thousand_rows_are_read_in_seconds(tmp_path):
    row = '这款台灯能调光吗？颜色有几种,"可以，三档亮度，""长按""记忆，颜色有黑白两种",备注\n'
    path = given(tmp_path, "a.csv", "问题,回答,备注\n" + row * 100_000)
    start = time.process_time()
    raw = read(path)
    assert len(raw.sheets[0].rows) == 100_001
    assert time.process_time() - start < 10


def test_all_that_is_said_about_a_file_has_its_sentences(tmp_path):
    text = '﻿{“q”:"x"}{"q":NaN,}\n{q:1}\n-\n{"a":1,"a":2}\n[{"q":1}]\n// c\n{"q":"\\ud800"}\n{"q":"x"'
    raw = read(given(tmp_path, "a.jsonl", text))
    assert len(raw.repaired) > 7 and raw.issues and raw.left
    assert all(knows(f"repair.{repair.code}") and repair.message("zh") for repair in raw.repaired)
    assert all(issue.message("zh") and issue.fix("en") for issue in raw.issues)


FORMATS = {".jsonl": "jsonl", ".json": "json", ".xlsx": "xlsx", ".xls": "xls", ".csv": "csv", ".tsv": "tsv",
           ".txt": "txt", ".parquet": "parquet"}  # fmt: skip


def test_traps_are_what_they_are_named():
    for path, expect in trap_files():
        raw = read(path)
        assert raw.format == FORMATS[path.suffix], path.name
        assert raw.encoding == expect.get("encoding", raw.encoding), path.name
        dropped = {each["row"] for each in expect["dropped"] if "JSON" in each["why"]}
        assert {left.row for left in raw.left} == dropped, path.name


def test_numbers_and_dates_read_as_they_are_displayed():
    for path, expect in trap_files():
        if path.name.startswith("11"):
            shown = dict(row.cells for row in read(path).sheets[0].rows[1:])
            for question, answer in expect["must_contain"]:
                assert shown[question["content"]] == answer.get("content", answer.get("any", [""])[0])


def test_records_of_traps_are_as_json_reads_them():
    for path, _ in trap_files():
        if path.suffix == ".json":
            assert [record.value for record in read(path).records] == json.loads(path.read_text("utf-8-sig"))


def test_a_markdown_table_in_a_text_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("# 售后\n\n| 问题 | 答案 |\n| --- | --- |\n| 多久发货？ | 两天内。 |\n", encoding="utf-8")
    raw = read(path)
    assert raw.format == "txt" and [row.cells for row in raw.sheets[0].rows][-1] == ("多久发货？", "两天内。")


def test_text_that_was_garbled_before(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("问题,答案\n" + "".join(f"�怎�{n}�,�两�\n" for n in range(12)), encoding="utf-8")
    with pytest.raises(FileError) as error:
        read(path)
    assert error.value.code == "text_garbled" and "a.csv" in error.value.cause()
