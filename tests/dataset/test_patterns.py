# ruff: noqa: E501 - a list of samples reads best in a block
"""Every pattern of the room stays fast on 50 KB of text made to slow it down."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import time
from collections.abc import Callable

import pytest

import postil.dataset
from postil.dataset.personal import find_personal, mask
from postil.dataset.repair import mend
from postil.dataset.suspicious import follow_up, oddities, placeholder

OURS = [
    "blocks",
    "check",
    "marked",
    "choice",
    "commas",
    "identity",
    "columns",
    "names",
    "personal",
    "repair",
    "rows",
    "similar",
    "speakers",
    "suspicious",
]
SIZE = 50_000
NASTY = ["a", " ", "1", "<p ", "<", "{{", "[", "【", "甲", "省", "号", "1号", "路1", "@", "a@a.", "a.", "-", "&#1", "&", "http://", "_x0", "呢", "那", "1 ",
         "1-", "13", "=", "ignore all ", "忽略所有的", "x", "?", "\t", "\u200d", "(", "（1", "A:", "2026-01-01 10:10 ", "password = ", "sk-", "<!--", "共 1 ",
         "微信a", "QQ：", "沪A·", "+44 20 ", "护照号：", "021-"]  # fmt: skip


def patterns() -> list[tuple[str, re.Pattern[str]]]:
    found = []
    for name in OURS:
        module = importlib.import_module(f"postil.dataset.{name}")
        found += [(f"{name}.{key}", value) for key, value in vars(module).items() if isinstance(value, re.Pattern)]
    return found


def test_the_list_of_modules_is_whole() -> None:
    mine = {info.name for info in pkgutil.iter_modules(postil.dataset.__path__)}
    assert set(OURS) <= mine and len(patterns()) >= 30


@pytest.mark.parametrize(("name", "pattern"), patterns(), ids=lambda value: value if isinstance(value, str) else "")
def test_attack_20_pattern(name: str, pattern: re.Pattern[str]) -> None:
    methods = [pattern.match, pattern.fullmatch]
    module, key = name.split(".")
    source = inspect.getsource(importlib.import_module(f"postil.dataset.{module}"))
    if re.search(rf"{key}\b(?!\.(?:fullmatch|match)\(|: | = )", source):  # used to search somewhere
        methods.append(pattern.search)
    for piece in NASTY:
        text = (piece * (SIZE // len(piece) + 1))[:SIZE] + "!"
        for method in methods:
            assert _seconds(method, text, 0.1) < 0.1, (name, piece)


@pytest.mark.parametrize("work", [find_personal, mask, oddities, placeholder, follow_up, lambda text: _mended(text)])
def test_attack_20_whole_functions(work: Callable[[str], object]) -> None:
    for piece in NASTY:
        text = (piece * (SIZE // len(piece) + 1))[:SIZE]
        assert _seconds(work, text, 0.5) < 0.5, piece


def _seconds(work: Callable[[str], object], text: str, bound: float) -> float:
    """CPU time of `work`, the best of three where a busy machine makes it look slow."""
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        work(text)
        best = min(best, time.process_time() - began)
        if best < bound:
            break
    return best


def _mended(text: str) -> str:
    from postil.dataset.drafts import Ledger, Turn

    turn = Turn("user", text, (0,))
    mend(turn, Ledger([1]))
    return turn.content
