"""Attack test 9: no workbook takes the process down, none takes long or much memory, none makes us look elsewhere."""

import random
import socket
import threading
import time
import zipfile
from functools import partial
from itertools import chain, repeat
from pathlib import Path

import openpyxl
import psutil
import pytest

from postil.child import Watch
from postil.dataset import sheets
from postil.dataset.limits import MB
from postil.dataset.raw import Findings
from postil.dataset.read import read
from postil.errors import FileError
from tests.dataset.hostile import sheet, text_cell, workbook


def refused(path: Path) -> str:
    with pytest.raises(FileError) as caught:
        read(path)
    assert str(caught.value), "the error has its sentences"
    return caught.value.code


class Meter:
    """Seconds, and the most memory that this process and its children took beyond what it had.

    A child counts from the moment that it runs a program of its own: before that its memory is its parent's.
    """

    def __enter__(self):
        self.start, self.most, self.running = time.monotonic(), 0, True
        self.before = psutil.Process().memory_info().rss
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def _watch(self):
        me = psutil.Process()
        mine = me.cmdline()
        while self.running:
            try:
                own = sum(child.memory_info().rss for child in me.children() if child.cmdline() not in (mine, []))
                self.most = max(self.most, me.memory_info().rss + own)
            except psutil.Error:
                continue
            time.sleep(0.01)

    def __exit__(self, *_):
        self.running = False
        self.thread.join()
        self.seconds = time.monotonic() - self.start
        self.grown = self.most - self.before


def bomb(part):
    part.write(b"<worksheet><sheetData>")
    block = b"<row><c><v>1111111111111111111111111</v></c></row>" * 20_000
    for _ in range(100):
        part.write(block)


def deep(part):
    part.write(b"<a>" * 10_000_000)


def long_tag(part):
    part.write(b'<worksheet a="')
    part.write(b"x" * 60_000_000)


def long_text(part):
    part.write(b"<worksheet><sheetData><row><c t='inlineStr'><is><t>")
    part.write(b"x" * 15_000_000)


def wide_rows(part):
    part.write(b"<worksheet><sheetData>")
    for i in range(1, 50_000):
        part.write(b'<row r="%d"><c r="BXX%d" t="s"><v>0</v></c></row>' % (i, i))
    part.write(b"</sheetData></worksheet>")


def one_text_in_many_cells(part):
    part.write(b"<worksheet><sheetData>")
    for _ in range(20):
        part.write(b"<row>" + b'<c t="s"><v>0</v></c>' * 200 + b"</row>")
    part.write(b"</sheetData></worksheet>")


def test_attack_09_one_long_text_in_many_cells_is_stopped(tmp_path):
    strings = "<sst><si><t>" + "x" * 1_000_000 + "</t></si></sst>"
    path = workbook(tmp_path / "a.xlsx", one_text_in_many_cells, strings=strings)
    with Meter() as meter:
        assert refused(path) in ("file_bomb", "file_needs_memory")
    assert meter.grown < 500 * MB


def many_merges(part):
    part.write(b"<worksheet><sheetData>")
    for i in range(1, 20_000):
        part.write(b'<row r="%d"><c r="B%d" t="s"><v>0</v></c></row>' % (i, i))
    part.write(b'<row r="20000"><c r="A20000" t="s"><v>0</v></c></row></sheetData><mergeCells>')
    part.write(b'<mergeCell ref="B1:B1048576"/>' * 20_000)
    part.write(b"</mergeCells></worksheet>")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (bomb, "file_bomb"),
        (deep, "file_bomb"),
        (long_tag, "file_bomb"),
        (long_text, "cell_too_large"),
        (wide_rows, "too_many_cells"),
        (many_merges, "too_many_cells"),
    ],
)
def test_attack_09_a_workbook_that_swells_is_stopped_early(tmp_path, body, code):
    path = workbook(tmp_path / "a.xlsx", body)
    with Meter() as meter:
        assert refused(path) == code
    assert meter.grown < 300 * MB
    assert meter.seconds < 8  # promised: 3, on a machine that does nothing else


def test_attack_09_a_tag_that_never_ends_is_refused_whatever_it_packs_to(tmp_path, monkeypatch):
    monkeypatch.setattr(sheets.limits, "SMALL_UNPACKED", 1 << 40)
    path = workbook(tmp_path / "a.xlsx", long_tag)
    assert refused(path) == "workbook_unsafe"


LAUGHS = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10))


@pytest.mark.parametrize(
    "declared",
    [
        f'<!DOCTYPE w [<!ENTITY a0 "ha">{LAUGHS}<!ENTITY e "&a9;">]>',
        f'<!DOCTYPE w [<!ENTITY e "{"x" * 100_000}">]>',
        '<!DOCTYPE w [<!ENTITY e SYSTEM "file:///etc/passwd">]>',
    ],
    ids=["billion laughs", "quadratic", "external"],
)
@pytest.mark.parametrize("where", ["sheet", "strings"])
def test_attack_09_entities_are_refused(tmp_path, declared, where):
    if where == "sheet":
        path = workbook(tmp_path / "a.xlsx", declared + sheet("<row>" + text_cell("A1", "&e;" * 1000) + "</row>"))
    else:
        strings = declared + "<sst><si><t>" + "&e;" * 1000 + "</t></si></sst>"
        path = workbook(tmp_path / "a.xlsx", sheet('<row><c t="s"><v>0</v></c></row>'), strings=strings)
    with Meter() as meter:
        assert refused(path) == "workbook_unsafe"
    assert meter.grown < 300 * MB


def test_attack_09_no_workbook_makes_us_call_out(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/x"
        unsafe = f'<!DOCTYPE w SYSTEM "{address}"><worksheet><sheetData/></worksheet>'
        assert refused(workbook(tmp_path / "dtd.xlsx", unsafe)) == "workbook_unsafe"
        link = f'<Relationship Id="rId9" Type="http://x/sharedStrings" Target="{address}" TargetMode="External"/>'
        path = workbook(tmp_path / "link.xlsx", sheet("<row>" + text_cell("A1", "q") + "</row>"), relations=link)
        assert read(path).sheets[0].rows[0].cells == ("q",)
        with pytest.raises(TimeoutError):
            server.accept()


def test_attack_09_a_relation_never_leads_out_of_the_workbook(tmp_path):
    outside = '<Relationship Id="rId9" Type="http://x/sharedStrings" Target="../../../../../etc/passwd"/>'
    path = workbook(tmp_path / "a.xlsx", sheet("<row>" + text_cell("A1", "q") + "</row>"), relations=outside)
    assert refused(path) == "file_broken"


def test_attack_09_a_far_away_cell_is_named(tmp_path):
    rows = f'<row r="1">{text_cell("A1", "q")}</row><row r="1048576">{text_cell("XFD1048576", "x")}</row>'
    path = workbook(tmp_path / "a.xlsx", '<worksheet><dimension ref="A1:XFD1048576"/>' + sheet(rows)[11:])
    with Meter() as meter, pytest.raises(FileError) as caught:
        read(path)
    assert caught.value.code == "cell_far_away"
    assert "XFD1048576" in caught.value.cause("zh") and "XFD1048576" in caught.value.remedy("en")
    assert meter.grown < 300 * MB


def test_a_cell_far_below_is_read_without_a_million_blank_rows(tmp_path):
    rows = f'<row r="1">{text_cell("A1", "q")}</row><row r="1048576">{text_cell("A1048576", "x")}</row>'
    raw = read(workbook(tmp_path / "a.xlsx", sheet(rows)))
    assert [row.number for row in raw.sheets[0].rows] == [1, 1048576]
    assert [(issue.code, issue.row) for issue in raw.issues] == [("blank_gap", 1048576)]


def test_attack_09_a_far_away_cell_in_an_ods_does_not_abort_us(tmp_path):
    cell = "<table:table-cell office:value-type='string'><text:p>x</text:p></table:table-cell>"
    content = (
        "<office:document-content xmlns:office='urn:oasis:names:tc:opendocument:xmlns:office:1.0'"
        " xmlns:table='urn:oasis:names:tc:opendocument:xmlns:table:1.0'"
        " xmlns:text='urn:oasis:names:tc:opendocument:xmlns:text:1.0'><office:body><office:spreadsheet>"
        "<table:table table:name='S'><table:table-row>" + cell + "</table:table-row>"
        "<table:table-row table:number-rows-repeated='1048574'><table:table-cell/></table:table-row>"
        "<table:table-row><table:table-cell table:number-columns-repeated='16383'/>" + cell + "</table:table-row>"
        "</table:table></office:spreadsheet></office:body></office:document-content>"
    )
    path = tmp_path / "a.ods"
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        book.writestr("META-INF/manifest.xml", "<manifest/>")
        book.writestr("content.xml", content)
    with Meter() as meter:
        assert refused(path) in ("file_needs_memory", "cell_far_away", "file_broken")
    assert meter.grown < 400 * MB


def test_an_honest_ods_is_read(tmp_path):
    content = (
        "<office:document-content xmlns:office='urn:oasis:names:tc:opendocument:xmlns:office:1.0'"
        " xmlns:table='urn:oasis:names:tc:opendocument:xmlns:table:1.0'"
        " xmlns:text='urn:oasis:names:tc:opendocument:xmlns:text:1.0'><office:body><office:spreadsheet>"
        "<table:table table:name='问答'><table:table-row>"
        "<table:table-cell office:value-type='string'><text:p>问题</text:p></table:table-cell>"
        "<table:table-cell office:value-type='float' office:value='12'><text:p>12</text:p></table:table-cell>"
        "</table:table-row></table:table></office:spreadsheet></office:body></office:document-content>"
    )
    path = tmp_path / "a.ods"
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        book.writestr("META-INF/manifest.xml", "<manifest/>")
        book.writestr("content.xml", content)
    raw = read(path)
    assert (raw.format, raw.sheets[0].name, raw.sheets[0].rows[0].cells) == ("ods", "问答", ("问题", "12"))


def test_attack_09_a_password_a_cut_and_an_archive_are_told_apart(tmp_path):
    locked = tmp_path / "locked.xlsx"
    locked.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2000) + "EncryptedPackage".encode("utf-16-le"))
    assert refused(locked) == "file_encrypted"
    whole = workbook(tmp_path / "whole.xlsx", sheet("<row>" + text_cell("A1", "q") + "</row>")).read_bytes()
    for share in (0.3, 0.6, 0.95):
        cut = tmp_path / "cut.xlsx"
        cut.write_bytes(whole[: int(len(whole) * share)])
        assert refused(cut) == "file_truncated"
    archive = tmp_path / "archive.xlsx"
    with zipfile.ZipFile(archive, "w") as parts:
        parts.writestr("inner.zip", b"PK")
    assert refused(archive) == "file_is_archive"


def test_attack_09_macros_are_harmless(tmp_path):
    kind = "application/vnd.ms-excel.sheet.macroEnabled.main+xml"
    parts = {"xl/vbaProject.bin": b"\xd0\xcf\x11\xe0 AutoOpen Shell"}
    path = workbook(tmp_path / "a.xlsm", sheet("<row>" + text_cell("A1", "q") + "</row>"), main_type=kind, parts=parts)
    raw = read(path)
    assert (raw.format, raw.sheets[0].rows[0].cells) == ("xlsm", ("q",))


@pytest.mark.parametrize(
    "row",
    [
        '<row r="1"><c r="A1" t="s"><v>99</v></c></row>',
        '<row r="1"><c r="A1" t="s"><v>x</v></c></row>',
        '<row r="x"><c r="A1" t="s"><v>0</v></c></row>',
        '<row r="1"><c r="??" t="s"><v>0</v></c></row>',
        '<row r="1"><c r="A1"><v>NaNa</v></c></row>',
        "<row r='1'><c",
    ],
)
def test_nonsense_is_a_clear_error(tmp_path, row):
    assert refused(workbook(tmp_path / "a.xlsx", "<worksheet><sheetData>" + row)) == "file_broken"


def test_bits_that_flip_are_a_clear_error_or_harmless(tmp_path):
    whole = workbook(tmp_path / "a.xlsx", sheet("<row>" + text_cell("A1", "q") + "</row>")).read_bytes()
    chance = random.Random(5)
    for _ in range(12):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[chance.randrange(4, len(damaged))] ^= 1 << chance.randrange(8)
        path = tmp_path / "b.xlsx"
        path.write_bytes(damaged)
        try:
            raw = read(path)
        except FileError as error:
            assert error.code.startswith(("file_", "workbook_", "encoding_")), error.code
        else:
            assert raw.sheets


def test_half_a_character_does_not_leave_the_workbook(tmp_path):
    raw = read(workbook(tmp_path / "a.xlsx", sheet("<row>" + text_cell("A1", "_xD83D_ _xD83D__xDE00_") + "</row>")))
    assert raw.sheets[0].rows[0].cells == ("\ufffd 😀",)


def test_a_row_number_of_less_than_one_is_no_place(tmp_path):
    path = workbook(tmp_path / "a.xlsx", sheet('<row r="-1"><c t="s"><v>0</v></c></row>'))
    assert refused(path) == "cell_far_away"


def test_attack_09_a_child_that_takes_too_long_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(sheets.limits, "CHILD_SECONDS", 0.01)
    path = workbook(tmp_path / "a.xlsx", sheet("<row>" + text_cell("A1", "q") + "</row>"))
    with pytest.raises(FileError) as caught:
        sheets.open_file(path, "xlsx", Findings())
    assert caught.value.code == "file_takes_too_long"


def test_attack_09_a_child_that_takes_too_much_memory_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(sheets.limits, "CHILD_BYTES", 1)
    path = workbook(tmp_path / "a.xlsx", sheet("<row>" + text_cell("A1", "q") + "</row>"))
    assert refused(path) == "file_needs_memory"


def test_a_directory_of_too_many_files_is_not_opened(tmp_path):
    path = tmp_path / "a.xlsx"
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("xl/workbook.xml", "")
        for i in range(10_001):
            book.writestr(f"{i}", b"")
    assert refused(path) == "file_bomb"


def test_many_rows_of_an_honest_workbook_arrive_in_order(tmp_path):
    book = openpyxl.Workbook(write_only=True)
    page = book.create_sheet("长表")
    for i in range(5_001):
        page.append([f"问{i}", i / 2])
    book.save(tmp_path / "a.xlsx")
    rows = read(tmp_path / "a.xlsx").sheets[0].rows
    assert [row.number for row in rows] == list(range(1, 5_002))
    assert rows[5_000].cells == ("问5000", "2500")
    assert rows[1].cells == ("问1", "0.5")


def test_a_small_workbook_is_read_on_a_machine_on_which_everything_takes_minutes(tmp_path, monkeypatch):
    """What counts is how long the child computes, not how long it has to wait for its turn."""
    monkeypatch.setattr(sheets, "Watch", partial(Watch, clock=chain([0.0], repeat(150.0)).__next__))
    path = workbook(tmp_path / "a.xlsx", sheet("<row>" + text_cell("A1", "q") + "</row>"))
    opened = sheets.open_file(path, "xlsx", Findings())
    assert opened.sheets[0].rows[0].cells == ("q",)
