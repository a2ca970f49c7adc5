"""A page made of blocks, as Markdown and as HTML. Every text is data: whatever it holds, it is shown, never obeyed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_STYLE = """
:root{color-scheme:light}
body{font:15px/1.55 system-ui,"PingFang SC","Microsoft YaHei","Noto Sans CJK SC",sans-serif;color:#1f2937;
background:#fff;max-width:60rem;margin:1.5rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0 0 .5rem}h2{font-size:1.1rem;margin:1.4rem 0 .4rem;border-bottom:1px solid #e5e7eb}
p{margin:.35rem 0}p.lead{font-size:1.05rem;background:#f3f6fa;border-left:4px solid #3b6ea5;padding:.6rem .8rem}
table{border-collapse:collapse;width:100%;margin:.4rem 0;font-size:.9rem}
th,td{border:1px solid #e5e7eb;padding:.25rem .45rem;text-align:left;vertical-align:top;overflow-wrap:anywhere;
white-space:pre-wrap}
th{background:#f9fafb;font-weight:600}
mark{background:#fde68a;color:inherit;border-radius:2px}
pre{background:#f9fafb;border:1px solid #e5e7eb;padding:.5rem .7rem;font-size:.82rem;white-space:pre-wrap;
overflow-wrap:anywhere}
svg{max-width:100%;height:auto}
@media print{body{font-size:10px;line-height:1.35;margin:0;max-width:none;padding:0}h1{font-size:16px}h2{font-size:12px;
margin:.7rem 0 .2rem}table{font-size:9px;margin:.2rem 0}th,td{padding:1px 4px}pre{font-size:8px}svg{max-width:60%}
tr,svg,pre{break-inside:avoid}mark{outline:1px solid #d97706}}
@page{margin:12mm}
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"

# Control characters, the marks that turn the direction of text around, and halves of characters.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ud800-\udfff]")
_MARKDOWN = re.compile(r"[\\`*_\[\]#|~$@]")
_AT_START = re.compile(r"^(\s*)([-+=]|\d+(?=[.)]))")  # would begin a list or underline a heading


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text, marked or not."""

    text: str
    marked: bool = False


Cell = str | Sequence[Piece]


@dataclass(frozen=True, slots=True)
class Heading:
    text: str
    level: int = 2


@dataclass(frozen=True, slots=True)
class Paragraph:
    text: str
    lead: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True, slots=True)
class Picture:
    """An SVG document of our own making, which stands beside the page as the file `name`."""

    svg: str
    name: str
    words: str


@dataclass(frozen=True, slots=True)
class Code:
    text: str
    language: str


Block = Heading | Paragraph | Table | Picture | Code


def plain(text: str) -> str:
    """`text` with what cannot be seen or stored replaced by U+FFFD; line ends as newlines."""
    return _UNSEEN.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))


# ── HTML ──────────────────────────────────────────────────────────────────────────────────────────


def to_html(blocks: Sequence[Block], title: str, lang: str) -> str:
    """A complete page: no script, nothing from elsewhere."""
    body = "\n".join(_html(block) for block in blocks)
    return (
        f'<!DOCTYPE html>\n<html lang="{"zh-CN" if lang == "zh" else "en"}"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_safe(title)}</title><style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _html(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{_safe(text)}</h{level}>"
        case Paragraph(text, lead):
            return f'<p class="{"lead" if lead else "text"}">{_safe(text)}</p>'
        case Table(head, rows):
            top = "".join(f"<th>{_safe(name)}</th>" for name in head)
            lines = "\n".join(_html_row(row) for row in rows)
            return f"<table><thead><tr>{top}</tr></thead><tbody>\n{lines}\n</tbody></table>"
        case Picture(svg):
            return f"<figure>{svg}</figure>"
        case Code(text):
            return f"<pre><code>{_safe(text)}</code></pre>"


def _html_row(row: Sequence[Cell]) -> str:
    return "<tr>" + "".join(f"<td>{_html_cell(cell)}</td>" for cell in row) + "</tr>"


def _html_cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return _safe(cell)
    return "".join(f"<mark>{_safe(piece.text)}</mark>" if piece.marked else _safe(piece.text) for piece in cell)


def _safe(text: str) -> str:
    return escape(plain(text), quote=True)


# ── Markdown ──────────────────────────────────────────────────────────────────────────────────────


def to_markdown(blocks: Sequence[Block]) -> str:
    """The same page for people who read text."""
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def _markdown(block: Block) -> str:
    match block:
        case Heading(text, level):
            return "#" * level + " " + _line(text)
        case Paragraph(text, lead):
            return ("> " if lead else "") + _line(text)
        case Table(head, rows):
            lines = [[_quoted(name) for name in head], ["---"] * len(head)]
            lines += [[_markdown_cell(cell) for cell in row] for row in rows]
            return "\n".join("| " + " | ".join(line) + " |" for line in lines)
        case Picture(_, name, words):
            return f"![{_quoted(words)}]({name})"
        case Code(text, language):
            return _fenced(plain(text), language)


def _markdown_cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return _quoted(cell)
    return "".join(f"<mark>{_quoted(piece.text)}</mark>" if piece.marked else _quoted(piece.text) for piece in cell)


def _quoted(text: str) -> str:
    """Text that no Markdown reader takes for markup, a link, a mention or the end of a table cell."""
    shown = escape(plain(text), quote=False)
    shown = _MARKDOWN.sub(r"\\\g<0>", shown)
    shown = re.sub(r"(?i)(?<=\bwww)\.", "&#46;", shown.replace("://", "&#58;//"))
    return re.sub(r"\n\s*", "<br>", shown)


def _line(text: str) -> str:
    return _AT_START.sub(_disarmed, _quoted(text.strip()))


def _disarmed(start: re.Match[str]) -> str:
    return start[0] + "\\" if start[2].isdigit() else start[1] + "\\" + start[2]


def _fenced(text: str, language: str) -> str:
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
