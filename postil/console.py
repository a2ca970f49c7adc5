"""What a terminal of another time can show: standard output and error that never fail on a character.

A Windows console or a redirected file there speaks GBK, and a server's locale may be ASCII. A character that its
encoding lacks ended the program in the middle of a table; now it is written as the nearest that there is.
"""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Mapping
from typing import Any, TextIO

NEAREST = {
    "¥": ("￥", "Y"),
    "￥": ("¥", "Y"),
    "✓": ("√", "+"),
    "✗": ("×", "x"),
    "•": ("·", "*"),
    "\N{NO-BREAK SPACE}": (" ",),
    **dict.fromkeys("\N{ZERO WIDTH SPACE}\N{ZERO WIDTH NO-BREAK SPACE}", ("",)),
    **dict.fromkeys("–—−─━·", ("-",)),
    **dict.fromkeys("│┃", ("|",)),
    **dict.fromkeys("■█", ("#",)),
    **dict.fromkeys("“”", ('"',)),
    **dict.fromkeys("‘’", ("'",)),
    **{"…": ("...",), "→": ("->",), "←": ("<-",), "×": ("x",), "≤": ("<=",), "≥": (">=",), "²": ("2",), "³": ("3",)},
}
HANDLER = "postil_nearest"


def settle_streams() -> None:
    """Let standard output and error write the nearest character where their encoding lacks one, and input read on."""
    codecs.register_error(HANDLER, _nearest)
    for stream, handler in ((sys.stdout, HANDLER), (sys.stderr, HANDLER), (sys.stdin, "replace")):
        if reconfigure := getattr(stream, "reconfigure", None):  # not where a test or a notebook has put its own
            reconfigure(errors=handler)


def json_line(content: Mapping[str, Any], stream: TextIO) -> str:
    """A line of JSON for scripts, without loss: what the stream's encoding lacks is escaped, as JSON allows."""
    line = json.dumps(content, ensure_ascii=False, default=str)
    encoding = stream.encoding or "utf-8"
    try:
        lossless = line.encode(encoding).decode(encoding) == line  # Shift JIS writes ¥ as the byte of a backslash
    except UnicodeError:
        lossless = False
    line = line if lossless else json.dumps(content, default=str)
    return line + "\n"


def _nearest(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_in_its_place(character, error.encoding) for character in lacking), error.end


def _in_its_place(character: str, encoding: str) -> str:
    for nearest in (*NEAREST.get(character, ()), "?"):
        try:
            nearest.encode(encoding)
        except UnicodeEncodeError:
            continue
        return nearest
    return ""
