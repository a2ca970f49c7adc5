"""Texts that stand in a file piece by piece, one with its tag on each row, or line by line with marks inside them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from postil.dataset.drafts import Draft, Ledger, Turn, blank
from postil.dataset.raw import Line, Row, column_letter
from postil.dataset.tagged import TAG, inline
from postil.model.entities import from_tags, write_entities

_SENTENCE = re.compile(r"句|sent", re.I)
_TOKEN = re.compile(r"字|词|token|word|char", re.I)
_WIDE = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef，。！？、；：]")
FEWEST = 6  # rows with a tag
TAGGED = 0.95  # of the filled cells of a column of tags
MARKED = 0.6  # of the texts
LOOKED_AT = 200  # rows, before all of them are


@dataclass(frozen=True)
class Pieces:
    """The columns of rows that are one piece of a text each. header: index of the heading's row."""

    token: int
    tag: int
    sentence: int | None
    header: int | None


def find_pieces(rows: Sequence[Row]) -> Pieces | None:
    """The columns of tokens and tags, if that is what the rows plainly are."""
    width = max((len(row.cells) for row in rows), default=0)
    for tag in reversed(range(width)):
        if not _tags_at_first(rows[:LOOKED_AT], tag):
            continue
        cells = [(i, _cell(row, tag).strip()) for i, row in enumerate(rows) if not blank(_cell(row, tag))]
        good = [i for i, text in cells if TAG.fullmatch(text)]
        starts = any(text[:2] in ("B-", "S-", "U-") for _, text in cells)
        if len(good) < FEWEST or not starts or len(good) < TAGGED * (len(cells) - 1):
            continue
        header = next((i for i, text in cells if i < good[0]), None)
        names = rows[header].cells if header is not None else ()
        token = _token(rows, good, tag, names)
        if token is not None:
            return Pieces(token, tag, _sentence(names, (token, tag)), header)
    return None


def _tags_at_first(rows: Sequence[Row], column: int) -> bool:
    """A quick look: whether half of the filled cells are tags."""
    filled = [text for row in rows if (text := _cell(row, column).strip())]
    return bool(filled) and 2 * sum(bool(TAG.fullmatch(text)) for text in filled) >= len(filled)


def _token(rows: Sequence[Row], tagged: Sequence[int], tag: int, names: Sequence[str]) -> int | None:
    others = [c for c in range(max(len(rows[i].cells) for i in tagged)) if c != tag]
    full = [c for c in others if sum(not blank(_cell(rows[i], c)) for i in tagged) >= TAGGED * len(tagged)]
    named = [c for c in full if c < len(names) and _TOKEN.search(names[c]) and not _SENTENCE.search(names[c])]
    texts = [c for c in full if sum(len(_cell(rows[i], c)) for i in tagged) <= 20 * len(tagged)]
    best = named or [c for c in texts if not (c < len(names) and _SENTENCE.search(names[c]))]
    return min(best, key=lambda c: (abs(tag - c), c)) if best else None


def _sentence(names: Sequence[str], taken: Sequence[int]) -> int | None:
    return next((c for c, name in enumerate(names) if c not in taken and _SENTENCE.search(name)), None)


def read_pieces(rows: Sequence[Row], pieces: Pieces, ledger: Ledger, lettered: bool = True) -> list[Draft]:
    """The texts. A blank row ends one, and so does another number of the sentence."""
    texts: list[list[int]] = [[]]
    last = ""
    for i, row in enumerate(rows):
        token, tag = _cell(row, pieces.token), _cell(row, pieces.tag).strip()
        named = _cell(row, pieces.sentence).strip() if pieces.sentence is not None else ""
        if i == pieces.header:
            ledger.skip(i, "header_row")
        elif all(blank(cell) for cell in row.cells):
            ledger.skip(i, "blank_row")
            texts.append([])
        elif (pieces.header is not None and i < pieces.header) or token.startswith("-DOCSTART-"):
            ledger.skip(i, "title_row")
            texts.append([])
        else:
            if named and last and named != last:
                texts.append([])
            last = named or last
            texts[-1].append(i)
            if not TAG.fullmatch(tag) and not ledger.known(i):
                cell = f"{column_letter(pieces.tag + 1)}{row.number}" if lettered else None
                ledger.drop(i, "tag_missing", cell, text=token[:40])
    return [_text(rows, found, pieces, lettered) for found in texts if found and _whole(found, ledger)]


def _whole(found: Sequence[int], ledger: Ledger) -> bool:
    """Whether all pieces of a text may be used; else none of them is."""
    if not any(ledger.known(i) for i in found):
        return True
    for i in found:
        if not ledger.known(i):
            ledger.drop(i, "tag_missing_near", severity="warning")
    return False


def _text(rows: Sequence[Row], found: Sequence[int], pieces: Pieces, lettered: bool) -> Draft:
    text, units, tags = "", [], []
    for i in found:
        token = _cell(rows[i], pieces.token).strip()
        if text and token and not _WIDE.search(text[-1]) and not _WIDE.search(token[0]):
            text += " "
        units.append((len(text), len(text) + len(token)))
        tags.append(_cell(rows[i], pieces.tag).strip())
        text += token
    at = tuple(found)
    cells = [f"{column_letter(c + 1)}{rows[found[0]].number}" if lettered else None for c in (pieces.token, pieces.tag)]
    entities = from_tags(tags, units, text)
    return Draft([Turn("user", text, at, cells[0]), Turn("assistant", write_entities(entities), at, cells[1])], at)


def pieces_of_lines(lines: Sequence[Line]) -> list[Row]:
    """Lines such as `海 B-产品` as rows of two cells."""
    return [Row(line.number, tuple(line.text.rsplit(None, 1)) if line.text.strip() else ()) for line in lines]


# ── marks inside the text ─────────────────────────────────────────────────────────────────────────


def are_inline(texts: Sequence[str]) -> bool:
    """Whether most of these texts have marks such as [海苔](产品) inside them, of few kinds."""
    first = texts[:LOOKED_AT]
    if 2 * sum(bool(inline(text)[1]) for text in first) < len(first):
        return False
    found = [inline(text)[1] for text in texts]
    kinds = {one.type for each in found for one in each}
    links = any(one.type.startswith(("http", "/", "www.", "#")) for each in found for one in each)
    return (
        len(texts) >= 2
        and sum(map(bool, found)) >= MARKED * len(texts)
        and not links
        and 2 * len(kinds) <= len(texts) + 2
    )


def read_inline(texts: Sequence[tuple[int, str, str | None]], ledger: Ledger) -> list[Draft]:
    """Each (index, text, cell) as an example."""
    drafts = []
    for i, text, cell in texts:
        plain, entities = inline(text)
        answer = write_entities(entities)
        ledger.repair("tags_read", i, text, plain, cell)
        drafts.append(Draft([Turn("user", plain, (i,), cell), Turn("assistant", answer, (i,), cell)], (i,)))
    return drafts


def _cell(row: Row, column: int) -> str:
    return row.cells[column] if column < len(row.cells) else ""
