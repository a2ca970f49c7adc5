"""Numbers that stand for a person where the words beside them say so: papers, licence plates, telephones, accounts."""

from __future__ import annotations

import re
from collections.abc import Iterator

_GAP = r"[是为:：#.\s]{0,4}"
_PAPER = re.compile(
    r"(?:护照|通行证|回乡证|台胞证|军官证|士兵证|警官证|社保卡|社保|医保卡|病历|住院|门诊|病案|驾驶证|驾照|居留证|passport"
    r"|social security|ssn|driver'?s? licen[cs]e|medical record|national insurance)"
    rf"(?:号码?|编号|\s?(?:numbers?|no\b|id\b))?{_GAP}(?:is\s|：|:)?\s?"
    r"(?P<number>[A-Za-z]{1,3}\d{6,10}|\d{3}-\d{2}-\d{4}|\d{6,12}|[A-Z]{2}\d{6}[A-D])(?![A-Za-z0-9-])",
    re.I,
)
_PLATE = re.compile(
    "[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-HJ-NP-Z][·•・.\\s-]?"
    "(?=[A-Z0-9]{0,4}[0-9][A-Z0-9]{0,4}[0-9])[A-HJ-NP-Z0-9]{4}[A-HJ-NP-Z0-9挂学警港澳][A-HJ-NP-Z0-9]?(?![A-Za-z0-9])"
)
_ALSO_WORDS = frozenset("新云青贵宁吉甘")  # 全新E12345 is no car of Xinjiang
_CAR = re.compile(r"车牌|牌照|车号|车辆|[·•・]")
_PHONE = re.compile(
    r"(?<![\d.-])(?:"
    r"[(（]?0(?:10|2\d|[3-9]\d{2})(?:[)）]\s?|\s?[-－—]\s?|\s)\d{3,4}[ -]?\d{4}"  # 021-62345678, (0571) 87654321
    r"|(?:\+1[ .-]?)?(?:\([2-9]\d{2}\)\s?|(?!\d00|8(?:33|44|55|66|77|88))[2-9]\d{2}[.-])\d{3}[.-]\d{4}"
    r"|\+(?!86|1)\d{1,3}[ -]\(?\d{1,4}\)?(?:[ -]\d{2,4}){2,4}"  # +44 20 7946 0958
    r"|(?<=电话)[:：是为]{0,2}\s?0\d{9,11}|(?<=座机)[:：是为]{0,2}\s?0\d{9,11}"
    r")(?![\d-])"
)
_NO_TELEPHONE = re.compile(r"(?:单号|编号|型号|货号|编码|sku|isbn|order|model|part|no\.?)\s?[是为:：#]?\s{0,2}$", re.I)
_ACCOUNT = re.compile(
    r"(?:微信(?:号|ID)?|wechat(?:\s?id)?|weixin|v信|旺旺(?:号|ID)?)"
    rf"{_GAP}(?P<id>(?=[A-Za-z_-]{{0,19}}[\d_])[A-Za-z][A-Za-z0-9_-]{{5,19}})(?![A-Za-z0-9_])"
    rf"|(?<![A-Za-z])(?:QQ|扣扣|企鹅)(?:号码?)?{_GAP}(?P<qq>[1-9]\d{{4,11}})(?!\d)",
    re.I,
)


def find_identity(text: str) -> Iterator[tuple[str, int, int]]:
    """(kind, start, end); kinds: document, plate, phone, account."""
    for match in _PAPER.finditer(text):
        yield "document", match.start("number"), match.end("number")
    for match in _PLATE.finditer(text):
        before = text[max(0, match.start() - 8) : match.start()]
        word = match[0][0] in _ALSO_WORDS and "\u4e00" <= before[-1:] <= "\u9fff"
        if not word or _CAR.search(before + match[0]):
            yield "plate", match.start(), match.end()
    for match in _PHONE.finditer(text):
        if not _NO_TELEPHONE.search(text[max(0, match.start() - 12) : match.start()]):
            start = next(i for i in range(match.start(), match.end()) if text[i] in "+(（0123456789")
            yield "phone", start, match.end()
    for match in _ACCOUNT.finditer(text):
        name = "id" if match["id"] else "qq"
        yield "account", match.start(name), match.end(name)
