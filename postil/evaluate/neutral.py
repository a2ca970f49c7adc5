"""Everyday text that no business data is like: if the loss on it grows, the model is forgetting."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path


@cache
def neutral_texts() -> tuple[str, ...]:
    """Forty short passages, Chinese and English in turn: facts, everyday prose, reasoning, instructions."""
    texts: list[str] = json.loads(Path(__file__).with_name("neutral.json").read_text(encoding="utf-8"))
    return tuple(texts)
