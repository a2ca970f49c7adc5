"""Every pattern outside the import room stays fast on 50 KB of text made to slow it down; the code is searched."""

from __future__ import annotations

import ast
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import postil

ROOT = Path(postil.__file__).parent
SIZE = 50_000
NASTY = ("a", " ", "1", "a ", "a.", "-", "_", "/", "<", "<think>", "{{", "{% for", "[", "\n", "ab/", "1.", "metadata[a",
         "/v1/uploads/", "ftjob-", "é", "字", "=", "*", "lora_A.", "ft:a:")  # fmt: skip
METHODS = {"compile", "match", "fullmatch", "search", "sub", "split", "findall", "finditer"}


SEARCHES = "search|sub|split|findall|finditer"


def patterns() -> Iterator[tuple[str, str, int]]:
    """(where, pattern, flags) of each literal that is handed to `re`, and of each `pattern=` of a field."""
    for path in sorted(ROOT.rglob("*.py")):
        if path.is_relative_to(ROOT / "dataset"):
            continue  # tests/dataset/test_patterns.py looks at those
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            where = f"{path.relative_to(ROOT)}:{node.lineno}"
            called = node.func
            if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id == "re":
                first = node.args[0] if called.attr in METHODS else None
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    dotall = any(isinstance(one, ast.Attribute) and one.attr == "DOTALL" for one in node.args)
                    yield where, first.value, re.DOTALL if dotall else 0
            for keyword in node.keywords:
                if keyword.arg == "pattern" and isinstance(keyword.value, ast.Constant):
                    yield where, str(keyword.value.value), 0


def methods(where: str, pattern: re.Pattern[str]) -> list[Any]:
    """`search` costs more; it is tried where the name that the pattern has, or its line, is searched with."""
    file, _, number = where.rpartition(":")
    lines = (ROOT / file).read_text("utf-8").splitlines()
    line = lines[int(number) - 1]
    name = re.match(r"(\w+)(?:: \S+)? = re\.compile", line)
    wanted = rf"\b{name[1]}\.({SEARCHES})\(" if name else rf"re\.({SEARCHES})\(|pattern="
    searched = re.search(wanted, "\n".join(lines) if name else line)
    return [pattern.match, pattern.fullmatch, *([pattern.search] if searched else [])]


def test_there_are_patterns_to_look_at() -> None:
    assert len(list(patterns())) > 20


@pytest.mark.parametrize(("where", "pattern", "flags"), list(patterns()))
def test_attack_20_no_pattern_takes_long(where: str, pattern: str, flags: int) -> None:
    compiled = re.compile(pattern, flags)
    for piece in NASTY:
        text = (piece * (SIZE // len(piece) + 1))[:SIZE] + "!"
        for method in methods(where, compiled):
            best = float("inf")
            for _ in range(3):
                began = time.process_time()
                method(text)
                best = min(best, time.process_time() - began)
                if best < 0.1:
                    break
            assert best < 0.1, (where, pattern, piece)
