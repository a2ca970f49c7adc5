"""The words that people use in headings, keys and chats, in two languages: a data file."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any


@cache
def words() -> dict[str, Any]:
    """words.json: names (role -> strength -> words), misspelt, beginnings, endings, speakers, markers,
    and some short lists."""
    text = Path(__file__).with_name("words.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def listed(key: str) -> frozenset[str]:
    """One of the short lists: technical, pairwise, parts, totals, shared_mail."""
    return frozenset(words()[key].split())
