import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from postil.evaluate import Facts, Run, verdict, write_report
from postil.evaluate.report import marked
from postil.locales import say
from postil.records import (
    Base,
    Choice,
    Dataset,
    Estimate,
    Evaluation,
    Example,
    Issue,
    Left,
    Message,
    Plan,
    Proposal,
    Repair,
    Shape,
)

ATTACKS = (
    "<img src=x onerror=alert(1)>",
    "</td></table></script><script>alert(1)</script>",
    "a | b || c `code` ``` **bold** [link](javascript:alert(1)) ![x](http://evil.example/x.png)",
    "<svg onload=alert(1)>&lt;b&gt; &#60;i&#62;",
    "line one\n# heading\n| x | y |\r\nhttps://evil.example www.evil.example \"quoted\" 'single'",
    "\u202egnp.exe \x00\x1b[31m \ud800 {braces} {0}",
    "1. one\n- two\n> three\n---\n$x$ ~~y~~ <!-- z -->",
)
SHAPE = Shape(2, 8, 16, 2, 2, 4, 100, 512)


def facts(attacks: tuple[str, ...] = ("保温杯",), **changes: object) -> Facts:
    text = attacks[0]
    rows = tuple({"question": f"提取商品：{a}", "reference": a, "base": f"{a} 我不知道", "tuned": a} for a in attacks)
    scores = [float(i % 4 == 0) for i in range(40)]
    evaluation = Evaluation(
        base={"exact_match": 0.25, "char_f1": 0.4, "loss": 2.25, "stopped": 0.5, "length": 40.0},
        tuned={"exact_match": 1.0, "char_f1": 0.9, "loss": 0.75, "stopped": 1.0, "length": 3.0},
        verdict=verdict("exact_match", scores, [1.0] * 40),
        forgetting=0.25,
        rows=rows,
    )
    example = Example((Message("user", text), Message("assistant", text)), (2,))
    given: dict[str, object] = {
        "adapter": Path("runs/titles"),
        "base": Base("tiny", SHAPE, source=f"directory:{text}", licence="Apache-2.0", path=Path("/models/tiny")),
        "base_sha256": "ab" * 32,
        "proposal": Proposal(
            Plan(metric="exact_match", system=text, instruction=text),
            {"system": Choice(text, "report_test", "user")},
            Estimate((60, 150), 2**30, 2**20, (0.01, 0.02)),
        ),
        "run": Run(75, 2.5, 95.4, 120_000, 1263.2, 900 * 2**20, 50),
        "dataset": Dataset(Path(f"{text[:20]}.xlsx".replace("/", "_")), "cd" * 32, "xlsx", "utf-8", 1, (example,)),
        "split": (200, 30, 50),
        "history": [{"step": i, "loss": 3.0 / i, "validation_loss": 3.5 / i} for i in range(1, 76)],
        "evaluation": evaluation,
        **changes,
    }
    return Facts(**given)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def reason(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Choice, "why", lambda self, lang=None: f"because {self.value}")
    yield


class Reader(HTMLParser):
    """What a browser would make of the page: its tags, their attributes, its text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "rect", "path", "circle", "polyline", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def written(directory: Path, given: Facts, lang: str = "en") -> tuple[str, str]:
    write_report(directory, given, lang)
    assert (directory / "curve.svg").read_text(encoding="utf-8").startswith("<svg ")
    page = (directory / "report.html").read_text(encoding="utf-8")
    return page, (directory / "report.md").read_text(encoding="utf-8")


# ── what it says ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_it_holds_what_a_reader_needs(tmp_path: Path, lang: str) -> None:
    given = facts()
    page, _ = written(tmp_path, given, lang)
    text = Reader(page).text
    assert given.evaluation is not None
    needed = [
        given.evaluation.verdict.words(lang), "learning_rate", "mlp-only", "75.0", "25.0%", "100.0%", "-1.500",
        "ab" * 32,
        "Apache-2.0", "1,263", "120,000", "900 MiB", "1.0 GiB", "200", "保温杯.xlsx", "PeftModel.from_pretrained",
        "postil compare runs/titles", say("report.curve.best", lang, step=50),
    ]  # fmt: skip
    for part in needed:
        assert part in text, part
    assert "1 min 35 s" in text or "1 分 35 秒" in text


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_markdown_says_the_same_and_links_the_picture(tmp_path: Path, lang: str) -> None:
    page, markdown = written(tmp_path, facts(), lang)
    assert "](curve.svg)" in markdown
    unescaped = re.sub(r"\\(.)", r"\1", markdown)
    for cell in re.findall(r"<t[dh]>([^<&]+)</t[dh]>", page):
        assert cell in unescaped


def test_a_short_report_when_little_is_known(tmp_path: Path) -> None:
    given = facts(run=None, dataset=None, split=None, history=(), evaluation=None)
    page, _ = written(tmp_path, given)
    assert "postil evaluate" in Reader(page).text


def test_only_the_first_rows_are_shown_and_long_texts_are_cut(tmp_path: Path) -> None:
    page, _ = written(tmp_path, facts(tuple(f"第{i:03}号" + "长" * 400 for i in range(100))))
    assert "第011号" in page and "第012号" not in page
    assert "12 of 100" in Reader(page).text
    assert len(page) < 60_000


def test_the_loading_code_is_python_with_the_paths_as_they_are(tmp_path: Path) -> None:
    path = Path('C:/it"s {mine}/```/适配器')
    page, markdown = written(tmp_path, facts(adapter=path))
    code = Reader(page).text.partition("from peft")[2]
    tree = ast.parse("from peft" + code)
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert {path.as_posix(), "/models/tiny"} <= texts
    assert "````python" in markdown


def test_findings_are_counted_by_kind_with_the_first_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (Left, Repair, Issue):
        monkeypatch.setattr(kind, "message", lambda self, lang=None: f"found {self.code} {type(self).__name__}")
    data = Dataset(
        Path("a.csv"), "0" * 64, "csv", "gb18030", 30, (),
        dropped=tuple(Left(row, "empty") for row in (7, 9, 11)),
        issues=(Issue("long", "warning", 4), Issue("few", "advice"), *(Issue(f"i{i}", "error", i) for i in range(10))),
        repaired=(Repair("quotes", 5, "a", "b"), Repair("quotes", 6, "a", "b")),
    )  # fmt: skip
    page, _ = written(tmp_path, facts(dataset=data))
    assert "<td>found empty Left</td><td>3</td><td>7</td>" in page
    assert "<td>found quotes Repair</td><td>2</td><td>5</td>" in page
    assert "found few" not in page
    assert "Kinds of findings not shown: 5" in page


def test_what_all_questions_begin_with_is_said_once(tmp_path: Path) -> None:
    rows = tuple({"question": f"请提取下面标题里的商品主体：新款{i}", "reference": "x", "base": "y"} for i in range(3))
    page, _ = written(tmp_path, facts(evaluation=replace(facts().evaluation, rows=rows)))  # type: ignore[type-var]
    assert page.count("请提取下面标题里的商品主体：") == 1
    assert "<td>新款2</td>" in page
    assert "(no answer)" in page


# ── marks ────────────────────────────────────────────────────────────────────────────────────────


def test_marks_are_what_the_reference_lacks() -> None:
    assert [(p.text, p.marked) for p in marked("保温杯", "保温水杯")] == [("保温", False), ("水", True), ("杯", False)]
    assert not any(piece.marked for piece in marked("red cup", "red cup"))
    assert all(piece.marked for piece in marked("红", "blue"))
    assert "".join(piece.text for piece in marked("a b c", "c  b\na")) == "c  b\na"


# ── attacks ──────────────────────────────────────────────────────────────────────────────────────

ALLOWED = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "table", "thead", "tbody", "tr", "th",
           "td", "mark", "pre", "code", "figure", "svg", "rect", "path", "polyline", "circle", "text"}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_html_shows_hostile_text_as_text(tmp_path: Path, attack: str) -> None:
    page, _ = written(tmp_path, facts((attack, *ATTACKS)))
    reader = Reader(page)
    assert {tag for tag, _ in reader.tags} <= ALLOWED
    names = {name for _, attributes in reader.tags for name in attributes}
    assert not {name for name in names if name.startswith("on") or name in ("src", "href", "xlink:href")}
    assert reader.open == []
    assert "<img src=x onerror=alert(1)>" in reader.text
    assert "</td></table></script><script>alert(1)</script>" in reader.text
    assert not re.search("[\x00\x1b\u202e]", page)
    assert "default-src 'none'" in page


@pytest.mark.parametrize("attack", ATTACKS)
def test_markdown_shows_hostile_text_as_text(tmp_path: Path, attack: str) -> None:
    _, markdown = written(tmp_path, facts((attack, *ATTACKS)))
    blocks = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown)
    spans = [span for block in blocks for span in block.children or ()]
    assert "html_block" not in {block.type for block in blocks}
    assert {span.content for span in spans if span.type == "html_inline"} <= {"<mark>", "</mark>", "<br>"}
    assert {span.type for span in spans} <= {"text", "html_inline", "image", "softbreak"}
    assert [span.attrs["src"] for span in spans if span.type == "image"] == ["curve.svg"]
    assert "://" not in markdown and "www." not in markdown  # some readers make links of bare addresses
    text = "".join(span.content for span in spans if span.type == "text")
    assert "<img src=x onerror=alert(1)>" in text
    assert "a | b || c `code` ``` **bold** [link](javascript:alert(1))" in text
    assert "</td></table></script><script>alert(1)</script>" in text


def test_hostile_text_leaves_the_shape_of_the_markdown_as_it_is(tmp_path: Path) -> None:
    def shape(attacks: tuple[str, ...]) -> list[str]:
        markdown = written(tmp_path, facts(attacks))[1]
        return [block.type for block in MarkdownIt("commonmark").enable("table").parse(markdown)]

    assert shape(ATTACKS) == shape(("plain",) * len(ATTACKS))


def test_data_cannot_fill_in_templates(tmp_path: Path) -> None:
    page, _ = written(tmp_path, facts(("{n} {0} {lang.__class__} %s",)))
    assert "{n} {0} {lang.__class__} %s" in Reader(page).text
