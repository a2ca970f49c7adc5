"""Texts that are almost the same, among hundreds of thousands: equal but for marks and width, or by MinHash."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import deque
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

THRESHOLD = 0.9  # Jaccard similarity of the sets of three characters
BANDS, ROWS = 6, 4  # hashes a band: two texts of similarity 0.9 meet in a band with probability 0.998
SHORTEST = 12  # characters; shorter texts differ by too much when they differ at all
COMMON = 10  # texts beside a text that must share its beginning for this to be an instruction
_CHUNK = 2_000_000  # characters that are hashed at once
_MARKS = re.compile(r"[\W_]+")
_DIGITS = re.compile(r"\d+")


def plain(text: str) -> str:
    """A text without case, width, spaces and punctuation: what two people would call the same question."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return _MARKS.sub("", text).casefold() or text.strip()


def near_pairs(texts: Sequence[str], threshold: float = THRESHOLD) -> Iterator[tuple[int, int]]:
    """Pairs (earlier, later) of plain texts whose sets of three characters are almost equal (Jaccard >= threshold).

    Each text is paired at most once, with the first that it resembles. Texts whose numbers differ are no pair: size 36
    and size 37 are two questions. Work is linear in the number of texts: each is compared with a few of its band.
    """
    own = without_common(texts)
    long = [i for i, text in enumerate(own) if len(text) >= SHORTEST]
    if len(long) < 2:
        return
    signatures = _signatures([own[i] for i in long])
    hashes = BANDS * ROWS
    agree = int(hashes * threshold - 4 * math.sqrt(hashes * threshold * (1 - threshold)))  # four deviations below
    matched: set[int] = set()
    for band in range(BANDS):
        keys = signatures[:, band * ROWS : (band + 1) * ROWS]
        for group in _same_rows(keys):
            for a, b in _candidates(group, signatures, agree, matched):
                first, second = long[a], long[b]
                if b not in matched and all(_alike(t[first], t[second], threshold) for t in (own, texts)):
                    matched.add(b)
                    yield first, second


def _candidates(
    group: Sequence[int], signatures: NDArray[np.uint32], agree: int, matched: set[int]
) -> Iterator[tuple[int, int]]:
    """Each member of a band's group with a few earlier ones, where the whole signatures agree well."""
    heads: list[int] = []
    for i in group:
        if i in matched:
            continue
        for head in (*heads[:3], *heads[3:][-2:]):
            if int((signatures[i] == signatures[head]).sum()) >= agree:
                yield head, i
        if i not in matched:
            heads.append(i)


def _alike(a: str, b: str, threshold: float) -> bool:
    if a == b:
        return True
    if not 0.7 <= len(a) / len(b) <= 1 / 0.7 or _DIGITS.findall(a) != _DIGITS.findall(b):
        return False
    x, y = _threes(a), _threes(b)
    shared = len(x & y)
    return shared >= threshold * (len(x) + len(y) - shared)


def _threes(text: str) -> set[str]:
    return {text[i : i + 3] for i in range(len(text) - 2)}


def without_common(texts: Sequence[str]) -> list[str]:
    """Texts without the beginning and the end that at least COMMON of them share: an instruction for all rows."""
    if len(texts) <= COMMON:
        return list(texts)
    shorter = _without_beginning(texts)
    return [text[::-1] for text in _without_beginning([text[::-1] for text in shorter])]


def _without_beginning(texts: Sequence[str]) -> list[str]:
    order = sorted(range(len(texts)), key=texts.__getitem__)
    shared = [_common(texts[order[i]], texts[order[i + COMMON]]) for i in range(len(order) - COMMON)]
    result = list(texts)
    best: deque[int] = deque()  # windows that hold place i, the one that shares most first
    for place, i in enumerate(order):
        if place < len(shared):
            while best and shared[best[-1]] <= shared[place]:
                best.pop()
            best.append(place)
        while best and best[0] < place - COMMON:
            best.popleft()
        result[i] = texts[i][shared[best[0]] :] if best else texts[i]
    return result


def _common(a: str, b: str) -> int:
    """Length of the common beginning of two texts, by halving."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _signatures(texts: Sequence[str]) -> NDArray[np.uint32]:
    """MinHash signatures, shape (texts, BANDS * ROWS), computed in chunks."""
    import numpy as np

    result = np.empty((len(texts), BANDS * ROWS), np.uint32)
    start = 0
    while start < len(texts):
        end, size = start, 0
        while end < len(texts) and (size < _CHUNK or end == start):
            size += len(texts[end])
            end += 1
        result[start:end] = _hashed([text[:20_000] for text in texts[start:end]])
        start = end
    return result


def _hashed(texts: Sequence[str]) -> NDArray[np.uint32]:
    import numpy as np

    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    lengths = np.array([len(text) for text in texts])
    starts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    threes = (
        codes[:-2] * np.uint32(0x9E3779B1) ^ codes[1:-1] * np.uint32(0x85EBCA77) ^ codes[2:] * np.uint32(0xC2B2AE3D)
    )
    threes = np.concatenate((threes, np.zeros(2, np.uint32)))
    within = np.ones(len(codes), bool)  # the last two positions of a text begin no three characters of it
    within[starts + lengths - 1] = within[starts + lengths - 2] = False
    result = np.empty((len(texts), BANDS * ROWS), np.uint32)
    for k, (factor, shift) in enumerate(_mixers()):
        mixed = threes * np.uint32(factor) + np.uint32(shift)
        mixed ^= mixed >> np.uint32(15)
        mixed *= np.uint32(0x2C1B3C6D)
        mixed ^= mixed >> np.uint32(13)
        mixed[~within] = np.uint32(0xFFFFFFFF)
        result[:, k] = np.minimum.reduceat(mixed, starts)
    return result


@cache
def _mixers() -> tuple[tuple[int, int], ...]:
    """Odd factors and shifts, the same on every machine: a linear congruential sequence."""
    state, mixers = 20260301, []
    for _ in range(BANDS * ROWS):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        mixers.append((state >> 32 | 1, state & 0xFFFFFFFF))
    return tuple(mixers)


def _same_rows(keys: NDArray[np.uint32]) -> Iterator[Sequence[int]]:
    """Groups of indexes with equal rows, each in rising order."""
    import numpy as np

    packed = np.ascontiguousarray(keys).view([("", keys.dtype)] * keys.shape[1]).ravel()
    _, inverse, counts = np.unique(packed, return_inverse=True, return_counts=True)
    order = np.argsort(inverse, kind="stable")
    ends = np.cumsum(counts)
    for group in np.flatnonzero(counts > 1):
        yield order[ends[group] - counts[group] : ends[group]].tolist()
