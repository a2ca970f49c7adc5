"""Repairs inside a text: hidden and control characters, PDF characters, HTML, outer spaces, wrapping quotes."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise

from postil.dataset.drafts import Ledger, Turn

_CONTROL = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufff9-\ufffb]|_x00(?:0[0-8BCEFbcef]|1[0-9A-Fa-f]|7[Ff])_"
)
_HIDDEN = re.compile(
    r"[\u200b\u200e\u200f\u2060-\u2064\ufeff\u00ad\u180e\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]"
)
_JOINER = re.compile("[\u200c\u200d]")
_PDF = re.compile(r"[\u2e80-\u2ef3\u2f00-\u2fd5\ufb00-\ufb06\uf900-\ufaff]")
_BREAKS = re.compile(r"\r\n?|[\u2028\u2029\x85]")
_ODD = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\u2e80-\u2fd5\uf900-\ufaff\ufb00-\ufb06"
    "\ufeff\ufff9-\ufffb\U000e0000-\U000e007f<&]|_x0|^\\s|\\s$"
)
# Radicals that NFKC leaves alone: the CJK radicals supplement as copied out of PDF files.
_RADICALS = str.maketrans(dict(zip(
    "⺠⺢⺩⺼⻁⻄⻅⻆⻉⻋⻓⻔⻘⻙⻚⻛⻜⻝⻢⻣⻤⻥⻦⻨⻩⻬⻮⻰⻳",
    "民水王月虎西见角贝车长门青韦页风飞食马骨鬼鱼鸟麦黄齐齿龙龟",
    strict=True,
)))  # fmt: skip


_FORMATTING = (
    "p|br|b|i|u|s|em|strong|span|div|font|ul|ol|li|table|tbody|thead|tr|td|th|h[1-6]|hr|a|img|blockquote|pre|small|big"
    "|sub|sup|center|section|article|label|o:p|del|ins|mark"
)
_TAG = re.compile(rf"<(?P<close>/?)(?P<name>{_FORMATTING})(?P<rest>(?:\s[^<>]{{0,2000}})?)\s?/?>", re.I)
_COMMENT = re.compile(r"<!--[^<>]{0,500}-->")
_ENTITY = re.compile(
    r"&(?:nbsp|amp|lt|gt|quot|apos|ldquo|rdquo|lsquo|rsquo|hellip|mdash|ndash|middot|times|yen|copy|reg|deg|emsp|ensp"
    r"|bull|trade|#\d{1,7}|#[xX][0-9a-fA-F]{1,6});"
)
_BLOCK = frozenset(("p", "div", "li", "tr", "ul", "ol", "table", "hr", "blockquote", "section", "article", "pre"))
_HREF = re.compile(r"href\s?=\s?[\"']?(https?://[^\s\"'<>]{1,1000})", re.I)
_LISTED = re.compile(r"[(（]?(\d{1,5})[ \t]{0,2}[、.．)）][ \t]{0,4}(?!\d)")
_PAIRS = {"“": "”", '"': '"', "「": "」"}
Step = tuple[str, Callable[[str], str]]


def mend(turn: Turn, ledger: Ledger) -> None:
    """Mend a message in place and list each repair, with an issue for those that say something about the file."""
    if not _ODD.search(turn.content):
        return
    text = turn.content
    for code, step in _STEPS:
        after = step(text)
        if after == text:
            continue
        ledger.repair(code, turn.at[0], text, after, turn.cell)
        if code in _WORTH_AN_ISSUE:
            ledger.issue(code, "warning", turn.at[0], turn.cell, count=_changed(code, text))
        text = after
    turn.content = text


def mended(text: str) -> str:
    """A text as `mend` would leave it."""
    if _ODD.search(text):
        for _, step in _STEPS:
            text = step(text)
    return text


def wrapped(turns: list[Turn], ledger: Ledger) -> None:
    """Take off the quotes around whole messages, where every message of a file wears them."""
    spoken = [turn for turn in turns if turn.content]
    if len(spoken) < 2 or not all(_in_quotes(turn.content) for turn in spoken):
        return
    for turn in spoken:
        ledger.repair("quotes_removed", turn.at[0], turn.content, turn.content[1:-1], turn.cell)
        turn.content = turn.content[1:-1].strip()


def unnumbered(asked: list[Turn], ledger: Ledger) -> None:
    """Take the running number off the questions of a numbered list: 1. 怎么退货？ 2. 多久发货？ Nobody asks so."""
    found = [_LISTED.match(turn.content) for turn in asked]
    numbers = [int(match[1]) for match in found if match]
    if len(numbers) < 5 or len(numbers) < 0.9 * len(asked):
        return
    if sum(b == a + 1 for a, b in pairwise(numbers)) < 0.8 * (len(numbers) - 1):
        return
    for turn, match in zip(asked, found, strict=True):
        if match and (rest := turn.content[match.end() :].strip()):
            ledger.repair("numbering_removed", turn.at[0], turn.content, rest, turn.cell)
            turn.content = rest


def _in_quotes(text: str) -> bool:
    close = _PAIRS.get(text[:1])
    return (
        close is not None
        and len(text) > 2
        and text.endswith(close)
        and close not in text[1:-1]
        and text[0] not in text[1:-1]
    )


def _changed(code: str, text: str) -> int:
    pattern = {"control_characters": _CONTROL, "hidden_characters": _HIDDEN, "compatibility_characters": _PDF}.get(
        code, _TAG
    )
    return max(1, sum(1 for _ in pattern.finditer(text)))


def _without_control(text: str) -> str:
    return _CONTROL.sub("", text)


def _without_hidden(text: str) -> str:
    text = _HIDDEN.sub("", text)
    return _JOINER.sub(lambda m: m.group() if _joins(text, m.start()) else "", text)


def _joins(text: str, i: int) -> bool:
    """A zero-width joiner that has work to do: between emoji, or inside Arabic and Indic words."""
    before, after = text[i - 1 : i], text[i + 1 : i + 2]
    return bool(before and after) and _joinable(before) and _joinable(after)


@lru_cache(maxsize=4096)
def _joinable(character: str) -> bool:
    code = ord(character)
    return (
        code >= 0x1F000
        or 0x2190 <= code <= 0x2BFF
        or code == 0xFE0F
        or 0x0600 <= code <= 0x0DFF
        or 0x1000 <= code <= 0x109F
    )


def _usual_characters(text: str) -> str:
    """Radicals and ligatures out of PDF files as the characters that people type: ⽤ is 用, ﬁ is fi."""
    return _PDF.sub(lambda m: unicodedata.normalize("NFKC", m.group()), text).translate(_RADICALS)


def _usual_breaks(text: str) -> str:
    return _BREAKS.sub("\n", text)


def _without_html(text: str) -> str:
    """Tags taken out, entities decoded, links kept as text (address). Code is left alone."""
    if "```" in text or not (_TAG.search(text) or _ENTITY.search(text)) or _talks_of_tags(text):
        return text
    ends: list[str] = []

    def put(tag: re.Match[str]) -> str:
        name = tag["name"].lower()
        if name == "a":
            if not tag["close"]:
                link = _HREF.search(tag["rest"])
                ends.append(link.group(1) if link else "")
                return ""
            link_text = ends.pop() if ends else ""
            return f" ({link_text})" if link_text else ""
        if name == "br" or (tag["close"] and (name in _BLOCK or name[0] == "h")) or name == "hr":
            return "\n"
        return "\t" if name in ("td", "th") and tag["close"] else ""

    plain = _TAG.sub(put, _COMMENT.sub("", text))
    plain = _ENTITY.sub(lambda m: html.unescape(m.group()).replace("\xa0", " "), plain)
    lines = [re.sub(r"[ \t]{2,}", " ", line).strip() for line in plain.split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _talks_of_tags(text: str) -> bool:
    """A text about HTML (<br>标签怎么用): one opening tag that is never closed, and no other sign of a copied page."""
    tags = list(_TAG.finditer(text))
    if not tags or _ENTITY.search(text):
        return False
    names = {tag["name"].lower() for tag in tags}
    closed = any(tag["close"] for tag in tags)
    return (not closed and not names & {"br", "p", "img", "hr"}) or "`<" in text or "标签" in text or " tag" in text


def _trimmed(text: str) -> str:
    return text.strip(" \t\r\n\v\f\u3000\xa0")


_STEPS: tuple[Step, ...] = (
    ("control_characters", _without_control),
    ("line_breaks", _usual_breaks),
    ("hidden_characters", _without_hidden),
    ("compatibility_characters", _usual_characters),
    ("html_left", _without_html),
    ("trimmed", _trimmed),
)
_WORTH_AN_ISSUE = frozenset({"control_characters", "hidden_characters", "compatibility_characters", "html_left"})
