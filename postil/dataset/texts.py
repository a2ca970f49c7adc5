"""Texts that nobody asks for: articles, manuals, a column of paragraphs. A model can go on reading them.

A file is taken for such only where nothing in it asks and answers: one column of texts, one key, or plain lines.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from postil.dataset.columns import Cells, look
from postil.dataset.drafts import Draft, Ledger, Turn, blank
from postil.dataset.names import meanings, normal
from postil.dataset.raw import Line, Sheet
from postil.dataset.words import listed

ENOUGH = 10  # documents; a file is divided at the coarsest marks that give so many
SHORTEST = 16  # characters of a document, on average: shorter ones are lists of names or labels
HEADING = 16  # characters of a heading over a column, at most
_RULE = re.compile(r"[ \t]*(?:[-=—_*~·]{3,200}|\f)[ \t]*")
_HEADING = re.compile(
    r"[ \t]{0,3}#{1,6}[ \t].{1,80}|第[一二三四五六七八九十百\d]{1,5}[章节篇回].{0,40}|《[^》]{1,60}》"
)
_ENDED = re.compile(r"[。！？!?.…；;：:][”’\"')）】」]?\s*$")
_SIDES = frozenset(
    ("question", "answer", "instruction", "input", "rejected", "message", "speaker", "dialogue", "label")
)


def reads(texts: Sequence[str]) -> bool:
    """Whether these are texts to read: long enough, mostly ended like sentences, and not mostly questions."""
    said = [text.strip() for text in texts if not blank(text)]
    asked = sum(text.endswith(("?", "？")) for text in said)
    ended = sum(bool(_ENDED.search(text)) for text in said)
    return bool(said) and fmean(map(len, said)) >= SHORTEST and 2 * asked < len(said) <= 2 * ended


def draft_of(text: str, at: int | tuple[int, ...], cell: str | None = None) -> Draft:
    """A text on its way to an example."""
    places = (at,) if isinstance(at, int) else at
    return Draft([Turn("assistant", text, places, cell)], places, reads=True)


# ── one key, one column ───────────────────────────────────────────────────────────────────────────


def text_key(names: Sequence[str]) -> str | None:
    """The key under which records hold their text: one that says so, or the only one if it says nothing else."""
    said = [name for name in names if normal(name) in listed("documents")]
    if len(said) == 1 and not any(_names_a_side(name) for name in names if name != said[0]):
        return said[0]
    return names[0] if len(names) == 1 and not _names_a_side(names[0]) else None


def text_column(sheet: Sheet) -> tuple[int, int | None] | None:
    """(column, index of the header row or None) of a sheet with one column of texts and nothing else but numbers."""
    rows = [row.cells for row in sheet.rows]
    first = next((i for i, row in enumerate(rows) if any(not blank(cell) for cell in row)), None)
    if first is None:
        return None
    width = max(map(len, rows))
    seen = look(rows[first + 1 :], width)
    columns = [c for c, column in enumerate(seen) if column.text]
    if len(columns) != 1 or len(rows) < 2:
        return None
    (column,) = columns
    header = first if _is_header(rows[first], column, seen[column].length) else None
    if header is not None and any(_names_a_side(name) for name in rows[first]):
        return None
    texts = [row[column] for row in rows[first + (header is not None) :] if column < len(row)]
    return (column, header) if reads(texts) else None


def _is_header(row: Cells, column: int, length: float) -> bool:
    """Whether this row names the column of texts: a short word over cells that are longer by far."""
    name = row[column].strip() if column < len(row) else ""
    short = 0 < len(name) <= HEADING and not _ENDED.search(name)
    return short and (normal(name) in listed("documents") or bool(meanings(name)) or length >= 2.5 * len(name))


def _names_a_side(name: str) -> bool:
    """Whether a heading plainly names a side of a dialogue, an answer or a label."""
    if blank(name) or normal(name) in listed("documents"):
        return False
    return any(role in _SIDES and (strength >= 2 or role == "label") for role, strength in meanings(name))


# ── plain lines ───────────────────────────────────────────────────────────────────────────────────


def read_texts(lines: Sequence[Line], ledger: Ledger) -> list[Draft]:
    """The documents of a text file; empty if it does not look like one.

    They are divided by rules (---), else by headings, by blank lines, or line by line: whatever first gives ten; if
    nothing does, what gives most.
    """
    ways = [_parted(lines, rules=True), _parted(lines, headings=True), _parted(lines, blanks=True)]
    filled = [line.text for line in lines if line.text.strip()]
    if filled and sum(bool(_ENDED.search(text)) for text in filled) >= 0.6 * len(filled):  # not lines of a fixed width
        ways.append([[i] for i, line in enumerate(lines) if line.text.strip()])
    found = next((way for way in ways if len(way) >= ENOUGH), max(ways, key=len))
    texts = ["\n".join(lines[i].text.rstrip() for i in part).strip("\n") for part in found]
    if not reads(texts):
        return []
    used = {i for part in found for i in part if lines[i].text.strip()}
    for i, line in enumerate(lines):
        if i not in used:
            ledger.skip(i, "heading_line" if line.text.strip() else "blank_row")
    drafts = []
    for part, text in zip(found, texts, strict=True):
        own = tuple(i for i in part if i in used and not ledger.known(i))
        if own == tuple(i for i in part if i in used):
            drafts.append(draft_of(text, own))
        elif own:  # a person leaves out some of its lines
            drafts.append(draft_of("\n".join(lines[i].text.rstrip() for i in own), own))
    return drafts


def _parted(lines: Sequence[Line], **at: Any) -> list[list[int]]:
    """The indexes of the lines of each part. Rules and blank lines that part them stand in none."""
    parts: list[list[int]] = [[]]
    for i, line in enumerate(lines):
        empty = not line.text.strip()
        if _RULE.fullmatch(line.text[:210]) and not empty:
            if at.get("rules"):
                parts.append([])
            continue
        if empty and at.get("blanks"):
            parts.append([])
            continue
        if at.get("headings") and _HEADING.fullmatch(line.text[:200].rstrip()):
            parts.append([])
        parts[-1].append(i)
    return [part for part in parts if any(lines[i].text.strip() for i in part)]
