"""Web pages that go by the name of .xls: each table is a sheet."""

from __future__ import annotations

import pytest

from postil.dataset import load, write_report
from postil.dataset.read import read
from postil.errors import FileError

from .made import PAIRS, accounted, codes, said

PLAIN = [[("user", question), ("assistant", answer)] for question, answer in PAIRS]


def page(path, body, encoding="utf-8"):
    path.write_bytes(f"<html><head><style>td {{}}</style></head><body>{body}</body></html>".encode(encoding))
    return path


def rows(path):
    return [row.cells for row in read(path).sheets[0].rows]


def test_a_page_that_is_called_xls(tmp_path):
    body = "".join(f"<tr><td>{n}<td>{q}<td>{a}" for n, (q, a) in enumerate(PAIRS, 1))
    table = f"<table><tr><th>序号</th><th>问题</th><th>答案</th></tr>{body}</table>"
    path = page(tmp_path / "a.xls", f"<h1>导出</h1>{table}", "gb18030")
    dataset = load(path)
    assert said(dataset) == PLAIN
    assert "web_page_read" in codes(dataset)
    accounted(dataset)
    write_report(dataset, tmp_path / "b.xlsx", "en")
    assert load(tmp_path / "b.xlsx", sheet="1").used == 12


def test_breaks_entities_spans_and_tables_inside_tables(tmp_path):
    inner = "<table><tr><td>问题<td>答案</tr><tr><td rowspan=2>甲&amp;乙<td>一<br>二</tr><tr><td>三</tr></table>"
    path = page(tmp_path / "a.xls", f"<table><tr><td>菜单</td></tr><tr><td>{inner}<script>x</script></td></tr></table>")
    assert rows(path) == [("问题", "答案"), ("甲&乙", "一\n二"), ("甲&乙", "三")]


def test_a_page_without_a_table_is_refused(tmp_path):
    with pytest.raises(FileError) as caught:
        read(page(tmp_path / "a.xls", "<form>请登录</form>"))
    assert caught.value.code == "file_is_web_page"


@pytest.mark.parametrize(
    "body", ["<table>" * 5000, "<table><tr>" + "<td>x" * 3000, "<" * 100_000, "<table><td colspan=99999>a"]
)
def test_attack_09_a_hostile_page_is_refused(tmp_path, body):
    with pytest.raises(FileError):
        read(page(tmp_path / "a.xls", body))
