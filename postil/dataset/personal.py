"""Personal data in texts: mobile and ID card numbers, addresses, bank cards, papers, plates. Found, and masked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from typing import NamedTuple

from postil.dataset.identity import find_identity
from postil.dataset.words import listed

_HINT = re.compile(
    r"\d{5}|\d{4} \d{4}|@|\d\s?[号弄]|1[3-9]\d[ -]\d|\d{2,3}[)）.-]|[·•・]?[A-Z0-9]{5}|\+\d|微信|(?i:wechat)"
)
_DIGITS = re.compile(r"(?<![\d.])(?:\+\d|\d)(?:[ -]?\d){9,22}[Xx]?(?![\d])")
_MOBILE = re.compile(r"(?:\+?(?:00)?86[ -]?)?1[3-9]\d[ -]?\d{4}[ -]?\d{4}")  # not 1-800-555-0100
_MAIL_NAME = re.compile(r"[A-Za-z0-9._%+-]{1,64}$")
_MAIL_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})\.){1,4}[A-Za-z]{2,20}")
_NUMBERED = re.compile(r"\d{1,5}\s?[号弄]")
_ROAD = re.compile(r"路|街|大道|道|巷|弄|胡同|里弄|村|镇|乡|园区|小区|新村|花园|公寓|广场|大厦|苑")
_PLACE = re.compile(r"[省市区县州盟旗]")
_REST = re.compile(r"(?:\s?\d{1,4}\s?(?:号楼|[幢栋座楼层室单元号#]){1,2}|[A-Za-z]?-?\d{1,5}|[A-Z][座栋幢]){0,5}")
_PLACE_RUN = re.compile(r"[\u4e00-\u9fffA-Za-z0-9 ]{1,60}$")
_NO_PERSON = re.compile(  # what says that the number behind it is one of a thing
    r"(?:订单|单号|运单|物流|快递|流水|编号|编码|型号|货号|条码|批次|序列|发票|税号|工单|案件|合同|房源|商品|SKU|ISBN"
    r"|order|tracking|serial|invoice|model|item|part)"
    r"\s?(?:号码?|编号|代码|id|no|number)?[是为:：#.\s]{0,3}$",
    re.I,
)
_SHARED_MAIL = listed("shared_mail")  # service@, support@: nobody's own
_NAMES = {
    "mobile": ("手机号", "mobile number"), "id_card": ("身份证号", "ID number"), "email": ("邮箱", "e-mail"),
    "bank_card": ("银行卡号", "bank card"), "address": ("地址", "address"), "document": ("证件号", "document number"),
    "plate": ("车牌号", "licence plate"), "phone": ("电话号码", "phone number"), "account": ("账号", "account"),
}  # fmt: skip
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHINESE = re.compile("[\u4e00-\u9fff]")
_STARTS = re.compile(
    r"从|改为|改成|改到|寄到|寄往|发到|送到|送货到|地址[是为：:]?|住在|住址[是为：:]?|位于|在|到|为|是|请寄"
)


_NARROW = str.maketrans("０１２３４５６７８９Ｘｘ＠＋－．　", "0123456789Xx@+-. ")  # one for one: places stay


class Found(NamedTuple):
    """A piece of personal data: its kind and where it stands.

    Kinds: mobile, id_card, email, bank_card, address, document (passport and other papers), plate, phone, account.
    """

    kind: str
    start: int
    end: int


def find_personal(text: str) -> list[Found]:
    """Personal data in a text, from left to right, without overlaps."""
    text = text.translate(_NARROW)
    if not _HINT.search(text):
        return []
    found: list[Found] = []
    end = 0
    others = (Found(*each) for each in find_identity(text))
    for one in sorted((*_numbers(text), *_mails(text), *_addresses(text), *others), key=lambda f: (f.start, -f.end)):
        if one.start >= end:
            found.append(one)
            end = one.end
    return found


def mask(text: str) -> str:
    """The text with each piece of personal data replaced by what it is: [手机号]."""
    chinese = bool(_CHINESE.search(text))
    parts, last = [], 0
    for one in find_personal(text):
        parts += [text[last : one.start], f"[{_NAMES[one.kind][0 if chinese else 1]}]"]
        last = one.end
    return "".join(parts) + text[last:] if parts else text


def _numbers(text: str) -> Iterator[Found]:
    for match in _DIGITS.finditer(text):
        written = match.group()
        digits = re.sub(r"[ +-]", "", written)
        before = text[max(0, match.start() - 14) : match.start()]
        for kind, right in _KINDS.items():
            if right(written if kind == "mobile" else digits):
                if kind != "id_card" and _NO_PERSON.search(before):
                    break
                yield Found(kind, match.start(), match.end())
                break
        else:
            if not _NO_PERSON.search(before):
                yield from _joined_mobiles(match)


def _joined_mobiles(match: re.Match[str]) -> Iterator[Found]:
    """Two numbers with only a blank or a hyphen between them."""
    at = match.start()
    for part in re.split(r"[ -]", match.group()):
        if _is_mobile(part):
            yield Found("mobile", at, at + len(part))
        at += len(part) + 1


def _is_mobile(digits: str) -> bool:
    return len(digits) >= 11 and bool(_MOBILE.fullmatch(digits))


def _is_id_card(digits: str) -> bool:
    """GB 11643: 17 digits with a possible birthday, and a check digit (weights modulo 11)."""
    if len(digits) != 18 or not digits[:17].isdigit():
        return False
    try:
        born = date(int(digits[6:10]), int(digits[10:12]), int(digits[12:14]))
    except ValueError:
        return False
    if not 1900 <= born.year <= 2100:
        return False
    remainder = sum(int(d) * w for d, w in zip(digits[:17], _WEIGHTS, strict=True)) % 11
    return "10X98765432"[remainder] == digits[17].upper()


def _is_bank_card(digits: str) -> bool:
    """16 to 19 digits that begin like a card of UnionPay, Visa, Mastercard or JCB and pass the Luhn check."""
    if not 16 <= len(digits) <= 19 or not digits.isdigit() or not digits.startswith(("62", "4", "5", "35", "9")):
        return False
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


_KINDS: dict[str, Callable[[str], bool]] = {"mobile": _is_mobile, "id_card": _is_id_card, "bank_card": _is_bank_card}


def _mails(text: str) -> Iterator[Found]:
    at = text.find("@")
    while at >= 0:
        name = _MAIL_NAME.search(text[max(0, at - 64) : at])
        host = _MAIL_HOST.match(text[at + 1 : at + 160])
        if name and host and name.group().lower() not in _SHARED_MAIL:
            yield Found("email", at - len(name.group()), at + 1 + host.end())
        at = text.find("@", at + 1)


def _addresses(text: str) -> Iterator[Found]:
    """A house number with a road shortly before it and a town before the road."""
    for number in _NUMBERED.finditer(text):
        run = _PLACE_RUN.search(text[max(0, number.start() - 40) : number.start()])
        if run is None:
            continue
        before = run.group()
        road = _last(_ROAD, before)
        if road is None or len(before) - road.end() > 8:
            continue
        place = _PLACE.search(before[: road.start()])
        if place is None or place.start() < 1:
            continue
        lead = _last(_STARTS, before[: place.start()])
        start = number.start() - len(before) + (lead.end() if lead else 0)
        rest = _REST.match(text, number.end())
        yield Found("address", start, rest.end() if rest else number.end())


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    found = None
    for match in pattern.finditer(text):
        found = match
    return found
