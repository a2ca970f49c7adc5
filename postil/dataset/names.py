"""What the heading of a column or the key of a JSON record means: the words that people use for it."""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache

from postil.dataset.words import words

_WEAK_ENDINGS = {"标题", "描述", "文案"}
_SIMPLE = str.maketrans(  # traditional characters in headings
    "問題覆戶標類內話對編號輪發訊時間備註評論價顧買賣輸詞應響產稱訂單參據結譯總說員機務籤緒圖會別聊談詢諮覽聯繫錄語釋義範樣節項組",
    "问题复户标类内话对编号轮发讯时间备注评论价顾买卖输词应响产称订单参据结译总说员机务签绪图会别聊谈询咨览联系录语释义范样节项组",
)
_ASIDE = re.compile(r"[（(\[【][^（()）\[\]【】]{0,40}[）)\]】]")
_MARKS = re.compile(r"[\s_\-*:：.．、，,\"'“”‘’/#|·?？]+")
_CAMEL = re.compile(r"([a-z])([A-Z])")
_NUMBER = re.compile(r"[0-9０-９一二三四五六七八九十]{1,3}$")


def simple(name: str) -> str:
    """A name without case and width, in simplified characters."""
    return unicodedata.normalize("NFKC", name).casefold().translate(_SIMPLE)


@lru_cache(maxsize=8192)
def normal(name: str) -> str:
    """A heading without case, spaces, marks and what stands in brackets: "问题（必填）*" is "问题"."""
    text = simple(name[:80])
    without = _MARKS.sub("", _ASIDE.sub("", text))
    return without or _MARKS.sub("", text.strip("[]【】()（）"))


@lru_cache(maxsize=8192)
def stem(name: str) -> str:
    """The normalised heading without a number at its end: 相似问3 is 相似问."""
    short = normal(name)
    return _NUMBER.sub("", short) or short


@lru_cache(maxsize=8192)
def meanings(name: str) -> tuple[tuple[str, int], ...]:
    """The roles that a heading can mean, with their strength (3 plain, 2 likely, 1 possible). Empty: unknown."""
    for short in dict.fromkeys((normal(name), stem(name))):
        if found := _dictionary().get(short):
            return found
    short = stem(name)
    if short.isascii():
        return _by_last_word(name)
    if short.startswith("是否"):
        return (("label", 1),)
    for beginning, role in words()["beginnings"].items():
        if short.startswith(beginning):
            return ((role, 3),)
    if 2 < len(short) <= 10:
        for ending, role in words()["endings"].items():
            if short.endswith(ending):
                return ((role, 1 if ending in _WEAK_ENDINGS else 3),)
    return ()


def _by_last_word(name: str) -> tuple[tuple[str, int], ...]:
    """An English heading by its last word, and by its first: Customer Question, Agent Response, answer_text."""
    pieces = re.findall(r"[a-z]+", _CAMEL.sub(r"\1 \2", unicodedata.normalize("NFKC", name[:80])).casefold())
    if not 2 <= len(pieces) <= 4:
        return ()
    for piece in (pieces[-1], pieces[0]) if pieces[-1] in ("text", "content", "message", "body") else (pieces[-1],):
        role = words()["last_words"].get(piece)
        if role:
            return ((role, 3),)
    return ()


@lru_cache(maxsize=8192)
def misspelt(name: str) -> tuple[str, str] | None:
    """(right spelling, role) of a damaged English name: instrucAon is instruction, respone is response."""
    short = normal(name)
    if not short.isascii() or len(short) < 4 or short in _dictionary() or short.endswith(("id", "ids")):
        return None
    known: dict[str, str] = words()["misspelt"]  # long and particular enough to be known by most of their letters
    best = min(known, key=lambda right: (_distance(short, right), right))
    allowed = 2 if len(best) >= 6 else 1
    return (best, known[best]) if _distance(short, best) <= allowed else None


@cache
def _dictionary() -> dict[str, tuple[tuple[str, int], ...]]:
    """Name -> (role, strength). 3: says it plainly; 2: says it, but may name a person; 1: may mean it."""
    entries: dict[str, list[tuple[str, int]]] = {}
    for role, strengths in words()["names"].items():
        for strength, listed in strengths.items():
            for word in listed.split():
                entries.setdefault(word, []).append((role, int(strength)))
    return {word: tuple(found) for word, found in entries.items()}


def _distance(a: str, b: str) -> int:
    """Levenshtein distance; names are short."""
    if abs(len(a) - len(b)) > 2:
        return 3
    above = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
        above = row
    return above[-1]
