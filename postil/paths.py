"""Paths in sentences for clients of a server: by name alone, since where its files lie is nobody's business.

Whoever raises an error names a path in full, for the user at a command line whose machine it is. Here it loses its
directories on the way out, also inside the words of a library or of the system: whatever begins as a path of this
machine does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

_ENDS = r"\s'\"`<>()\[\]{},;|"
_QUOTED = re.compile(r"(['\"`])((?:/|[A-Za-z]:[\\/]|\\\\)[^'\"`\n]{1,4000})\1")
_POSIX = re.compile(rf"(?<![A-Za-z0-9_.~/-])/[^{_ENDS}/:]{{1,255}}/[^{_ENDS}:]{{0,4000}}")
_WINDOWS = re.compile(rf"(?<![A-Za-z0-9_])(?:[A-Za-z]:[\\/]|\\\\)[^{_ENDS}]{{1,4000}}")


def by_name(text: str) -> str:
    """`text` with every path of this machine in it shortened to its last part.

    >>> by_name("No such file: '/tmp/some where/x.json'")
    "No such file: 'x.json'"
    """
    if "/" not in text and "\\" not in text:
        return text
    if "\n" not in text and text.startswith("/") and _is_path(text):  # all of it, with its spaces
        return _name(text)
    text = _QUOTED.sub(lambda match: match[1] + _shortened(match[2]) + match[1], text.replace("file:///", "/"))
    text = _POSIX.sub(lambda match: _shortened(match[0]), text)
    return _WINDOWS.sub(lambda match: _shortened(match[0]), text)


def all_by_name(tree: Any) -> Any:
    """The same for every text in lists and dictionaries, as JSON has them."""
    if isinstance(tree, str | Path):
        return by_name(str(tree))
    if isinstance(tree, Mapping):
        return {name: all_by_name(branch) for name, branch in tree.items()}
    return [all_by_name(branch) for branch in tree] if isinstance(tree, list | tuple) else tree


def _shortened(path: str) -> str:
    return _name(path) if _is_path(path) else path


def _name(path: str) -> str:
    kind = PurePosixPath if path.startswith("/") else PureWindowsPath
    stripped = path.rstrip(".")  # the end of a sentence
    return (kind(stripped).name or "…") + path[len(stripped) :]


def _is_path(text: str) -> bool:
    """Whether it begins as paths do here: /v1/models and /v1/files are addresses, unless there is a directory /v1."""
    if not text.startswith("/"):
        return bool(_WINDOWS.match(text))
    first, _, more = text[1:].partition("/")
    return bool(more) and _is_root(first)


@lru_cache(maxsize=256)
def _is_root(name: str) -> bool:
    try:
        return bool(name) and Path("/", name).is_dir()
    except (OSError, ValueError):
        return False
