"""What Excel displays for a number, from its format code: 0.85 under "0%" is 85%, 46191 under "yyyy-mm-dd" 2026-06-18.

Formats whose look depends on the reader's own system (short date) are shown as ISO dates.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache

Shown = Callable[[float], str]

# Format codes that a workbook names by number only (ECMA-376 18.8.30; 27 to 58 as in Chinese Excel).
BUILT_IN: dict[int, str] = {
    0: "General", 1: "0", 2: "0.00", 3: "#,##0", 4: "#,##0.00", 9: "0%", 10: "0.00%", 11: "0.00E+00",
    14: "yyyy-mm-dd", 15: "d-mmm-yy", 16: "d-mmm", 17: "mmm-yy", 18: "h:mm AM/PM", 19: "h:mm:ss AM/PM",
    20: "h:mm", 21: "h:mm:ss", 22: "yyyy-mm-dd hh:mm", 27: 'yyyy"年"m"月"', 28: 'm"月"d"日"', 29: 'm"月"d"日"',
    30: "yyyy-mm-dd", 31: 'yyyy"年"m"月"d"日"', 32: 'h"时"mm"分"', 33: 'h"时"mm"分"ss"秒"', 34: '上午/下午h"时"mm"分"',
    35: '上午/下午h"时"mm"分"ss"秒"', 36: 'yyyy"年"m"月"', 37: "#,##0;(#,##0)", 38: "#,##0;(#,##0)",
    39: "#,##0.00;(#,##0.00)", 40: "#,##0.00;(#,##0.00)", 41: "#,##0", 42: "#,##0", 43: "#,##0.00", 44: "#,##0.00",
    45: "mm:ss", 46: "[h]:mm:ss", 47: "mm:ss.0", 48: "0.0E+0", 49: "@", 50: 'yyyy"年"m"月"', 51: 'm"月"d"日"',
    52: 'yyyy"年"m"月"', 53: 'm"月"d"日"', 54: 'm"月"d"日"', 55: '上午/下午h"时"mm"分"',
    56: '上午/下午h"时"mm"分"ss"秒"', 57: 'yyyy"年"m"月"', 58: 'm"月"d"日"',
}  # fmt: skip

_TOKEN = re.compile(
    r'"(?P<quoted>[^"]*)"|\\(?P<escaped>.)|[_*].|\[\$(?P<currency>[^\]\-]*)[^\]]*\]|\[(?P<elapsed>[hms]+)\]|\[[^\]]*\]'
    r"|(?P<half>AM/PM|A/P|上午/下午)|(?P<power>E[+-]0+)|(?P<part>y+|m+|d+|h+|s+|e+|a{3,4})|(?P<fraction>(?<=s)\.0+)|(?P<any>.)",
    re.I | re.S,
)
_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
           "November", "December")  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_LONGEST = 255  # signs of a format code that Excel accepts
_LAST_SERIAL = 2_958_466  # the day after 9999-12-31


def general(value: float) -> str:
    """The format General: 12 not 12.0, 100000000 not 1e+08, at most 15 digits."""
    if abs(value) < 1e15 and value == int(value):
        return str(int(value))
    text = f"{value:.15g}"
    return text if "e" not in text else text.replace("e", "E")


def plain(value: object) -> str:
    """The text of a value that comes without its format code, as from .xls and .ods."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float | int):
        return general(value)
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d") if value.time() == time() else f"{value:%Y-%m-%d} {_clock(value.time())}"
    if isinstance(value, time):
        return _clock(value)
    if isinstance(value, timedelta):
        minutes, seconds = divmod(round(value.total_seconds()), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
    return value.isoformat() if isinstance(value, date) else str(value)


def _clock(moment: time) -> str:
    return f"{moment:%H:%M:%S}" if moment.second else f"{moment:%H:%M}"


def formatter(code: str, epoch_1904: bool = False) -> Shown:
    """A function from a cell's number to the text that Excel displays under the format `code`."""
    if code.strip().lower() in ("general", "@", "", "g/通用格式", "通用格式") or len(code) > _LONGEST:
        return general
    sections = _sections(code)
    shown = [_section(each, epoch_1904) for each in sections[:3]]
    if any(re.search(r"\[[<>=]", each) for each in sections):
        return general  # a format with conditions of its own

    def show(value: float) -> str:
        if value < 0 and len(shown) > 1:
            return shown[1](-value)
        if value == 0 and len(shown) > 2:
            return shown[2](value)
        return shown[0](value)

    return show


def _sections(code: str) -> list[str]:
    parts = [""]
    for token in _TOKEN.finditer(code):
        if token["any"] == ";":
            parts.append("")
        else:
            parts[-1] += token[0]
    return parts


def _section(code: str, epoch_1904: bool) -> Shown:
    tokens = list(_TOKEN.finditer(code))
    if any(token["part"] or token["elapsed"] for token in tokens):
        minutes = [_is_minute(tokens, i) for i in range(len(tokens))]
        return lru_cache(maxsize=4096)(lambda value: _moment(value, tokens, minutes, epoch_1904))
    return _Number(tokens).show


class _Number:
    """A section for numbers: signs before, digits with or without groups and decimals, signs after."""

    def __init__(self, tokens: list[re.Match[str]]) -> None:
        self.whole: list[str] = []  # digit places as "0", "#" or "?"; all else stands as ("literal")
        self.decimals = ""
        self.before: list[str] = []
        self.after: list[str] = []
        self.scale, self.grouped, self.power, self.plain = 0, False, 0, False
        self._sort(tokens)

    def _sort(self, tokens: list[re.Match[str]]) -> None:
        point, commas = False, 0
        for token in tokens:
            sign = token["any"]
            if sign and sign in "0#?":
                self.grouped |= bool(commas) and not point
                commas = 0
                if point:
                    self.decimals += sign
                else:
                    self.whole += [*self.after, sign] if self.whole else [sign]
                    self.before, self.after = (self.before, []) if len(self.whole) > 1 else (self.after, [])
            elif sign == "." and not point:
                point = True
            elif sign == ",":
                commas += 1
            elif token["power"]:
                self.power = token["power"].count("0")
            elif sign == "@" or (sign == "/" and self.whole):
                self.plain = True
            else:
                self.scale += 2 if sign == "%" else 0
                self.after.append(_literal(token))
        self.scale -= 3 * commas
        self.point = point

    def show(self, value: float) -> str:
        if self.plain or not abs(value) < 1e15:
            return general(value)
        if not self.whole and not self.decimals:
            return "".join([*self.before, *self.after])
        sign = "-" if value < 0 else ""
        number = abs(Decimal(repr(value))).scaleb(self.scale)
        if self.power:
            body = f"{number:.{len(self.decimals)}E}"
            body = re.sub(r"E([+-])(\d+)", lambda e: f"E{e[1]}{e[2].zfill(self.power)}", body)
        else:
            body = self._digits(number)
        if not re.search(r"[1-9]", body):
            sign = ""
        return sign + "".join(self.before) + body + "".join(self.after).rstrip(" ")

    def _digits(self, number: Decimal) -> str:
        rounded = number.quantize(Decimal(1).scaleb(-len(self.decimals)), ROUND_HALF_UP)
        whole, _, decimals = f"{rounded:f}".partition(".")
        kept = len(self.decimals.rstrip("#?"))
        decimals = decimals[:kept] + decimals[kept:].rstrip("0")
        whole = whole.lstrip("0").zfill(self.whole.count("0"))
        if self.grouped:
            whole = f"{int(whole):,}" if whole else ""
        return self._laid(whole) + ("." + decimals if decimals or (self.point and kept) else "")

    def _laid(self, digits: str) -> str:
        """Digits laid into their places from the right, with the signs between them, as in 000-0000."""
        if all(place in "0#?" for place in self.whole):
            return digits
        laid = ""
        for i in range(len(self.whole) - 1, -1, -1):
            place = self.whole[i]
            if place not in ("0", "#", "?"):
                laid = place + laid
            elif digits:
                first = not any(p in ("0", "#", "?") for p in self.whole[:i])
                laid = (digits if first else digits[-1]) + laid
                digits = "" if first else digits[:-1]
        return laid


def _literal(token: re.Match[str]) -> str:
    for name in ("quoted", "escaped", "currency", "part", "half", "any"):
        if token[name] is not None:
            return token[name]
    return " " if token[0].startswith("_") else ""


def _moment(value: float, tokens: list[re.Match[str]], minutes: list[bool], epoch_1904: bool) -> str:
    if not 0 <= value < _LAST_SERIAL:
        return general(value)
    days, rest = divmod(round(value * 86_400 * 1000), 86_400 * 1000)
    if not any(token["fraction"] for token in tokens):
        days, rest = divmod(round(value * 86_400) * 1000, 86_400 * 1000)
    first = datetime(1904, 1, 1) if epoch_1904 else datetime(1899, 12, 31 if value < 60 else 30)
    try:
        moment = first + timedelta(days=days, milliseconds=rest)
    except OverflowError:
        return general(value)
    half = any(token["half"] for token in tokens)
    pieces = [_piece(token, moment, value, half, minute) for token, minute in zip(tokens, minutes, strict=True)]
    return "".join(pieces).strip()


def _piece(token: re.Match[str], moment: datetime, value: float, half: bool, minute: bool) -> str:
    if token["half"]:
        names = ("上午", "下午") if token["half"][0] == "上" else ("AM", "PM")
        return names[moment.hour >= 12]
    if token["fraction"]:
        return f".{moment.microsecond // 1000:03}"[: len(token["fraction"])]
    if token["elapsed"]:
        unit = {"h": 3600, "m": 60, "s": 1}[token["elapsed"][0].lower()]
        return str(round(value * 86_400) // unit).zfill(len(token["elapsed"]))
    if not token["part"]:
        sign = _literal(token)
        return "" if sign == "@" else sign
    return _date_part(token["part"].lower(), moment, half, minute)


def _date_part(part: str, moment: datetime, half: bool, minute: bool) -> str:
    size = len(part)
    if part[0] in "ye":
        return f"{moment.year % 100:02}" if size < 3 and part[0] == "y" else str(moment.year)
    if part[0] == "m" and not minute:
        name = _MONTHS[moment.month - 1]
        return {3: name[:3], 4: name, 5: name[0]}.get(size, str(moment.month).zfill(min(size, 2)))
    if part[0] == "d" and size > 2:
        return _DAYS[moment.weekday()][: 3 if size == 3 else None]
    if part[0] == "a":
        return ("" if size == 3 else "星期") + "一二三四五六日"[moment.weekday()]
    hour = (moment.hour % 12 or 12) if half else moment.hour
    return str({"d": moment.day, "h": hour, "m": moment.minute, "s": moment.second}[part[0]]).zfill(size)


def _is_minute(tokens: list[re.Match[str]], i: int) -> bool:
    """An m is a minute after an hour or before a second, else a month."""
    parts = [(token["part"] or token["elapsed"] or "").lower()[:1] for token in tokens]
    before = next((part for part in reversed(parts[:i]) if part), "")
    after = next((part for part in parts[i + 1 :] if part), "")
    return before == "h" or after == "s"
