from datetime import date, datetime, time, timedelta

import pytest

from postil.dataset.numberformat import BUILT_IN, formatter, general, plain


@pytest.mark.parametrize(
    ("value", "code", "shown"),
    [
        (0.85, "0%", "85%"),
        (0.125, "0.0%", "12.5%"),
        (19.9, "0.00", "19.90"),
        (2.675, "0.00", "2.68"),
        (1234567.5, "#,##0.00", "1,234,567.50"),
        (-1234.4, "#,##0;(#,##0)", "(1,234)"),
        (0, '#,##0;-#,##0;"-"', "-"),
        (-0.001, "0.0", "0.0"),
        (871, "00000", "00871"),
        (13800138000, "000-0000-0000", "138-0013-8000"),
        (5, '0"元"', "5元"),
        (5, "0\\元", "5元"),
        (99.5, '"¥"#,##0.00', "¥99.50"),
        (99.5, "[$¥-804]#,##0.00", "¥99.50"),
        (3, "¥#,##0.00_);[Red](¥#,##0.00)", "¥3.00"),
        (12, "0.##", "12"),
        (12.5, "0.##", "12.5"),
        (12345678, '0.0,,"M"', "12.3M"),
        (1e8, "0.00E+00", "1.00E+08"),
        (0.5, "# ?/?", "0.5"),
        (7, "[>100]0.0;0", "7"),
        (1e8, "General", "100000000"),
        (12, "G/通用格式", "12"),
        (46191, "yyyy-mm-dd", "2026-06-18"),
        (46191, "yyyy/m/d;@", "2026/6/18"),
        (46191, '[$-804]yyyy"年"m"月"d"日"', "2026年6月18日"),
        (46191, "aaaa", "星期四"),
        (46191, "dddd, mmmm d, yyyy", "Thursday, June 18, 2026"),
        (46191.5, "m/d/yy h:mm", "6/18/26 12:00"),
        (0.7291666666666666, "h:mm", "17:30"),
        (0.7291666666666666, "h:mm AM/PM", "5:30 PM"),
        (0.7291666666666666, "上午/下午h:mm", "下午5:30"),
        (0.7291666666666666, "hh:mm:ss", "17:30:00"),
        (46326.83333333334, "yyyy-mm-dd hh:mm", "2026-10-31 20:00"),
        (1.5, "[h]:mm", "36:00"),
        (0.0001, "mm:ss.0", "00:08.6"),
        (1, "yyyy-mm-dd", "1900-01-01"),
        (59, "yyyy-mm-dd", "1900-02-28"),
        (61, "yyyy-mm-dd", "1900-03-01"),
        (-5, "yyyy-mm-dd", "-5"),
        (1e15, "yyyy-mm-dd", "1E+15"),
        (1e300, "0.00", "1E+300"),
        (float("inf"), "0.00", "inf"),
    ],
)
def test_what_excel_shows(value, code, shown):
    assert formatter(code)(value) == shown


def test_the_calendar_of_1904():
    assert formatter("yyyy-mm-dd", epoch_1904=True)(44729) == "2026-06-18"


def test_every_built_in_format_can_be_shown():
    for code in BUILT_IN.values():
        assert formatter(code)(46191.75)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(12.0, "12"), (0.1 + 0.2, "0.3"), (-3.5, "-3.5"), (1e20, "1E+20"), (123456789012345.0, "123456789012345")],
)
def test_general(value, shown):
    assert general(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (True, "TRUE"),
        (12.0, "12"),
        ("x", "x"),
        (date(2026, 6, 18), "2026-06-18"),
        (datetime(2026, 6, 18), "2026-06-18"),
        (datetime(2026, 6, 18, 20), "2026-06-18 20:00"),
        (time(17, 30), "17:30"),
        (time(17, 30, 5), "17:30:05"),
        (timedelta(hours=30, minutes=5), "30:05:00"),
    ],
)
def test_values_without_a_format(value, shown):
    assert plain(value) == shown


@pytest.mark.parametrize("code", ["0" * 5000, "[" * 5000, '"' * 5000, "y" * 5000, ";" * 5000, "#," * 5000, "E+" * 5000])
def test_a_hostile_format_is_harmless(code):
    assert isinstance(formatter(code)(46191.5), str)
