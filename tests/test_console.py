"""Consoles that do not speak UTF-8: nothing ends in the middle because of a character."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postil.console import HANDLER, NEAREST, json_line, settle_streams
from postil.samples import sample
from postil.settings import for_child

ENCODINGS = ("gbk", "gb2312", "big5", "shift_jis", "euc_kr", "cp1252", "cp437", "latin-1", "ascii", "utf-8")


def stream(encoding: str) -> tuple[io.BytesIO, io.TextIOWrapper]:
    settle_streams()
    raw = io.BytesIO()
    return raw, io.TextIOWrapper(raw, encoding=encoding, errors=HANDLER, newline="")


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(words=st.text())
def test_any_text_can_be_written(encoding: str, words: str) -> None:
    raw, writer = stream(encoding)
    writer.write(words)
    writer.flush()
    shown = raw.getvalue().decode(encoding)
    if encoding == "utf-8" and words.isprintable():
        assert shown == words
    if words.isascii():
        assert shown == words


@pytest.mark.parametrize(("encoding", "shown"), [("gbk", "￥1.20"), ("cp1252", "¥1.20"), ("ascii", "Y1.20")])
def test_an_amount_keeps_a_sign(encoding: str, shown: str) -> None:
    for amount in ("¥1.20", "￥1.20"):
        raw, writer = stream(encoding)
        writer.write(amount)
        writer.flush()
        assert raw.getvalue().decode(encoding) == shown


@given(words=st.text(st.characters(exclude_categories=["Cs"])))
def test_json_for_scripts_loses_nothing(words: str) -> None:
    for encoding in ENCODINGS:
        _, writer = stream(encoding)
        line = json_line({"text": words}, writer)
        assert json.loads(line.encode(encoding).decode(encoding)) == {"text": words}


def test_the_nearest_of_a_character_is_never_itself() -> None:
    assert not [character for character, nearest in NEAREST.items() if character in nearest]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_command_ends_well_on_a_console_of_windows(lang: str) -> None:
    environment = {**for_child(), "PYTHONUTF8": "0", "PYTHONIOENCODING": "gbk"}
    command = [sys.executable, "-m", "postil", "check", str(sample("preferences")), "--lang", lang]
    done = subprocess.run(command, capture_output=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr.decode("gbk", "replace")
    assert "postil" not in done.stderr.decode("gbk") and sample("preferences").name in done.stdout.decode("gbk")
