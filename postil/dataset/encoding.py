"""Bytes become text: strict decoders first, then the one whose text looks most like something people write."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass

from postil.dataset.raw import Findings
from postil.errors import FileError

_SAMPLE = 256 * 1024

# The commonest characters of running text (own counts of what every text is full of), and the punctuation around them.
_PUNCTUATION = "，。？！、：；“”（）《》…—「」"
_SIMPLIFIED = frozenset(
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然"
    "家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把"
    "机十民第公此已工使情明性知全三又关点正业外将两高间由问很最重并物手应向头文体答请您退货款单品快客服怎快几买"
    + _PUNCTUATION
)
_TRADITIONAL = frozenset(
    "的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得於著下自之年過發後作裡用道行所然"
    "家種事成方多經麼去法學如都同現當沒動面起看定天分還進好小部其些主樣理心她本前開但因只從想實日軍者意無力它與長把"
    "機十民第公此已工使情明性知全三又關點正業外將兩高間由問很最重並物手應向頭文體答請您退貨款單品快客服怎快幾買"
    + _PUNCTUATION
)
_KOREAN = frozenset("이다는을에의가고하지한은로를기도사있나서해시어니리요대자인아그라수일만보부정들주습")
_KANA = frozenset("のにはをたがでてとしれさいなるもかすこまくっらりんうあつけよきどせえちおや、。「」ーントルスッ")
_WESTERN = frozenset("àâäáãåæçèéêëìíîïñòóôöõøœùúûüÿßÀÂÄÁÃÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÖÕØŒÙÚÛÜ€£°§«»“”‘’„–—…·•²³½©®™\xa0¿¡")

_BOMS = (
    (codecs.BOM_UTF8, "utf-8", "UTF-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
)

_NAMES = {
    "utf_16": "UTF-16",
    "utf_16_le": "UTF-16",
    "utf_16_be": "UTF-16",
    "utf_32": "UTF-32",
    "cp1252": "Windows-1252",
}


@dataclass(frozen=True)
class _Candidate:
    codec: str
    name: str
    common: frozenset[str]
    everyday: Callable[[str], int]  # of the characters given, how many does the encoding hold in its everyday part


def decode(data: bytes, found: Findings) -> tuple[str, str]:
    """The text of `data` and the name of its encoding ("UTF-8", "UTF-16", "GB18030", "Big5", ...).

    A byte order mark is removed (a listed repair); lines in a second encoding are read line by line (listed too).
    Raises FileError `encoding_unknown` or `encoding_mixed` (with the line) when no reading is possible.
    """
    for mark, codec, name in _BOMS:
        if data.startswith(mark):
            found.repair("bom", 1, f"<{mark.hex(' ').upper()}>", "", encoding=name)
            return _marked(data[len(mark) :], codec, name, found)
    if wide := _wide(data):
        return wide, "UTF-16"
    text = _strict(data, "utf-8")
    return (text, "UTF-8") if text is not None else _local(data, found)


def _marked(data: bytes, codec: str, name: str, found: Findings) -> tuple[str, str]:
    """Text after a byte order mark. A mark may lie: UTF-8's is sometimes glued to a file in GB18030."""
    text = _strict(data, codec)
    if text is not None:
        return text, name
    if name == "UTF-8":
        return _local(data, found)
    raise FileError("encoding_broken", encoding=name)


def _strict(data: bytes, codec: str) -> str | None:
    try:
        return data.decode(codec)
    except UnicodeDecodeError:
        return None


def _wide(data: bytes) -> str | None:
    """UTF-16 without a mark: zero bytes stand all on even or all on odd places, and often."""
    sample = data[:_SAMPLE]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if len(data) % 2 or max(even, odd) < max(2, len(sample) // 100) or 4 * min(even, odd) > max(even, odd):
        return None
    text = _strict(data, "utf-16-le" if odd > even else "utf-16-be")
    return text if text is not None and "\0" not in text[:_SAMPLE] and _is_writing(text[:_SAMPLE]) else None


def _is_writing(text: str) -> bool:
    plain = len(re.findall(r"[\t\n\r -~\u00a0-\u024f\u2010-\u203b\u3000-\u30ff\u4e00-\u9fff\uff01-\uff5e]", text))
    return plain >= 0.9 * len(text)


def _local(data: bytes, found: Findings) -> tuple[str, str]:
    """An encoding of one country: the candidate that decodes strictly and looks most like writing."""
    sample = _cut(data)
    rated = sorted(((_rate(sample, each), each) for each in _CANDIDATES), key=lambda pair: -pair[0])
    for rating, each in rated:
        text = _strict(data, each.codec) if rating >= 0.4 else None
        if text is not None:
            return text, each.name
    return _mixed(data, found) or _guess(data)


def _cut(data: bytes) -> bytes:
    """The first part of `data`, up to the end of a line: no character is cut in two."""
    if len(data) <= _SAMPLE:
        return data
    return data[: data.rfind(b"\n", 0, _SAMPLE) + 1] or data[:_SAMPLE]


def _rate(sample: bytes, candidate: _Candidate) -> float:
    """0: cannot be. Counts the everyday characters, and half as much the very commonest (a third of them: full)."""
    text = _strict(sample, candidate.codec)
    if text is None:
        return 0.0
    characters = [c for c in text if c > "\x7f"]
    if not characters:
        return 0.0
    everyday = candidate.everyday("".join(characters)) / len(characters)
    common = sum(c in candidate.common for c in characters) / len(characters)
    return everyday * (0.5 + 0.5 * min(1.0, 3 * common))


def _in_gb2312(text: str) -> int:
    """Simplified characters of every day, and the traditional ones, which GB18030 keeps elsewhere."""
    simplified = text.encode("gb2312", "ignore").decode("gb2312", "ignore")
    return len(simplified) + _in_big5("".join(set(text) - set(simplified)))


def _in_big5(text: str) -> int:
    """Characters in Big5's frequent part (A1 to C6); its rare part begins at C9."""
    return sum(1 for c in text if b"\xa1" <= c.encode("big5", "ignore")[:1] <= b"\xc6")


def _hangul(text: str) -> int:
    return sum(1 for c in text if "\uac00" <= c <= "\ud7a3")


def _kana(text: str) -> int:
    """All of it, if kana stands beside the kanji as it does in Japanese; else only the kana."""
    kana = sum(1 for c in text if "\u3041" <= c <= "\u30ff")
    return len(text) if 4 * kana > len(text) else kana


def _western(text: str) -> int:
    """All or nothing: a Chinese text read as Windows-1252 is full of signs that no language uses."""
    return len(text) if sum(c in _WESTERN for c in text) >= 0.95 * len(text) else 0


_CANDIDATES = (
    _Candidate("gb18030", "GB18030", _SIMPLIFIED | _TRADITIONAL, _in_gb2312),
    _Candidate("big5hkscs", "Big5", _TRADITIONAL, _in_big5),
    _Candidate("cp949", "EUC-KR", _KOREAN, _hangul),
    _Candidate("cp932", "Shift_JIS", _KANA, _kana),
    _Candidate("cp1252", "Windows-1252", _WESTERN, _western),
)


def _mixed(data: bytes, found: Findings) -> tuple[str, str] | None:
    """UTF-8 lines among GB18030 or Big5 lines, as when two exports were pasted together."""
    lines = data.split(b"\n")
    strange = [i for i, line in enumerate(lines) if _strict(line, "utf-8") is None]
    if len(strange) == sum(1 for line in lines if not line.isascii()):
        _broken_line(lines, strange)
        return None
    codec, name = _second(b"\n".join(lines[i] for i in strange))
    texts: list[str] = []
    odd = set(strange)
    for i, line in enumerate(lines):
        text = _strict(line, codec if i in odd else "utf-8")
        if text is None:
            raise FileError("encoding_mixed", rows=[i + 1], line=i + 1)
        texts.append(text)
        if i in odd:
            before = line.decode("utf-8", "replace").rstrip("\r")
            found.repair("mixed_encoding", i + 1, before, text.rstrip("\r"), encoding=name)
    return "\n".join(texts), "UTF-8"


def _second(data: bytes) -> tuple[str, str]:
    best = max(_CANDIDATES[:2], key=lambda each: _rate(data, each))
    return best.codec, best.name


def _broken_line(lines: list[bytes], strange: list[int]) -> None:
    """No line is in UTF-8. Raises FileError with the first broken line if the others are all in one encoding."""
    for each in _CANDIDATES[:2]:
        broken = [i for i in strange if _strict(lines[i], each.codec) is None]
        rest = b"\n".join(lines[i] for i in strange if i not in set(broken))
        if len(broken) * 5 <= len(strange) and _rate(rest, each) >= 0.4:
            raise FileError("encoding_mixed", rows=[i + 1 for i in broken], line=broken[0] + 1)


def _guess(data: bytes) -> tuple[str, str]:
    from charset_normalizer import from_bytes

    best = from_bytes(_cut(data)).best()
    text = _strict(data, best.encoding) if best else None
    if best is None or text is None:
        raise FileError("encoding_unknown")
    return text, _NAMES.get(best.encoding, best.encoding.replace("_", "-"))
