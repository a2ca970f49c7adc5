"""OpenDocument and Excel's XML of 2003: the text that a cell displays."""

from __future__ import annotations

import zipfile

import pytest

from postil.dataset.read import read
from postil.errors import FileError

PERCENT, FIRST = "ss:StyleID='p'", "ss:Index='1'"
TWO_ROWS, TWO_BLANKS = "table:number-rows-spanned='2'", "二<text:s text:c='2'/>三"
XML = (
    '<?xml version="1.0"?><Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet"'
    ' xmlns:ss="urn:schemas-microsoft-com:office:spreadsheet"><Styles>'
    '<Style ss:ID="p"><NumberFormat ss:Format="0%"/></Style></Styles>'
    '<Worksheet ss:Name="问答"><Table>{}</Table></Worksheet></Workbook>'
)  # fmt: skip


def cell(text, kind="String", more=""):
    return f'<Cell {more}><Data ss:Type="{kind}">{text}</Data></Cell>'


def test_excel_xml_of_2003(tmp_path):
    body = (
        f"<Row>{cell('问题')}{cell('答案')}</Row>"
        f'<Row ss:Index="3">{cell("几折？")}{cell(0.85, "Number", PERCENT)}</Row>'
        f"<Row>{cell('何时？')}{cell('2026-05-01T00:00:00.000', 'DateTime')}</Row>"
        f"<Row>{cell('库存？', more=FIRST)}{cell('#N/A', 'Error')}</Row>"
    )
    path = tmp_path / "a.xls"
    path.write_text(XML.format(body), encoding="utf-8")
    raw = read(path)
    assert raw.sheets[0].name == "问答"
    assert [row.cells for row in raw.sheets[0].rows] == [
        ("问题", "答案"), (), ("几折？", "85%"), ("何时？", "2026-05-01"), ("库存？",),
    ]  # fmt: skip
    assert [(issue.code, issue.cell) for issue in raw.issues] == [("error_cell", "B5")]


def test_other_xml_is_refused(tmp_path):
    (tmp_path / "a.xml").write_text('<?xml version="1.0"?><feed/>')
    with pytest.raises(FileError) as caught:
        read(tmp_path / "a.xml")
    assert caught.value.code == "file_is_xml"


def ods(path, body):
    names = "".join(
        f' xmlns:{short}="urn:oasis:names:tc:opendocument:xmlns:{short}:1.0"'
        for short in ("office", "table", "text", "style")
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        book.writestr(
            "content.xml",
            f'<office:document-content{names}><office:body><office:spreadsheet><table:table table:name="表">{body}'
            "</table:table></office:spreadsheet></office:body></office:document-content>",
        )
    return path


def shown(text, more="", paragraphs=None):
    inner = "".join(f"<text:p>{each}</text:p>" for each in (paragraphs or [text]))
    return f"<table:table-cell {more}>{inner}</table:table-cell>"


def test_open_document_shows_what_its_cells_display(tmp_path):
    percent = 'office:value-type="percentage" office:value="0.85"'
    body = (
        f"<table:table-row>{shown('问题')}{shown('答案')}</table:table-row>"
        f"<table:table-row>{shown('几折？')}{shown('85%', percent)}</table:table-row>"
        '<table:table-row table:number-rows-repeated="2"><table:table-cell/></table:table-row>'
        f"<table:table-row>{shown('几行？')}{shown('', paragraphs=['一', TWO_BLANKS])}"
        "</table:table-row>"
        f"<table:table-row>{shown('坏了？')}{shown('#N/A')}</table:table-row>"
        f"<table:table-row>{shown('税率？')}<table:table-cell {percent}/></table:table-row>"
        '<table:table-row table:visibility="collapse">'
        f"{shown('藏着？')}<table:table-cell><office:annotation><text:p>批注</text:p></office:annotation>"
        "<text:p>是</text:p></table:table-cell></table:table-row>"
    )
    raw = read(ods(tmp_path / "a.ods", body))
    assert [row.cells for row in raw.sheets[0].rows] == [
        ("问题", "答案"), ("几折？", "85%"), (), (), ("几行？", "一\n二  三"), ("坏了？",),
        ("税率？", "85%"), ("藏着？", "是"),
    ]  # fmt: skip
    assert {issue.code for issue in raw.issues} == {"error_cell", "hidden_cells"}


def test_cells_merged_downwards_in_open_document(tmp_path):
    body = (
        f"<table:table-row>{shown('问题')}{shown('答案')}</table:table-row>"
        f"<table:table-row>{shown('多久？', TWO_ROWS)}{shown('一天')}</table:table-row>"
        f"<table:table-row><table:covered-table-cell/>{shown('两天')}</table:table-row>"
    )
    found = [row.cells for row in read(ods(tmp_path / "a.ods", body)).sheets[0].rows]
    assert found == [("问题", "答案"), ("多久？", "一天"), ("多久？", "两天")]


def test_attack_09_a_repeated_cell_that_fills_the_sheet_is_refused(tmp_path):
    body = (
        '<table:table-row table:number-rows-repeated="1048576">'
        f"{shown('x', 'table:number-columns-repeated=' + chr(34) + '16384' + chr(34))}</table:table-row>"
    )
    with pytest.raises(FileError) as caught:
        read(ods(tmp_path / "a.ods", body))
    assert caught.value.code in ("too_many_cells", "cell_far_away")
