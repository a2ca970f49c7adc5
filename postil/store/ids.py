"""Names of objects: a prefix and 120 random bits. Never reused, never guessed, never joined to a path."""

from __future__ import annotations

import secrets
import time

_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"


def new_id(prefix: str) -> str:
    """`prefix` with 24 random letters and digits."""
    return prefix + letters(24)


def letters(count: int) -> str:
    """Random letters and digits, five bits each."""
    return "".join(secrets.choice(_LETTERS) for _ in range(count))


def now() -> int:
    """Unix seconds, to be shown to people."""
    return int(time.time())
