"""The program `postil`. It chooses the language first, because help texts are read when the command line is loaded."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code."""
    from postil.console import settle_streams
    from postil.locales import LANGUAGES, speak, speak_to_clients
    from postil.settings import Settings, is_served

    settle_streams()
    arguments = list(sys.argv[1:] if argv is None else argv)
    wanted = _wanted(arguments) or Settings().language
    if wanted in LANGUAGES:
        speak(wanted)
    if is_served():
        speak_to_clients()
    if argv is None and "--debug" not in arguments:
        sys.excepthook = _unforeseen
    try:
        from postil.cli import run

        return run(arguments)
    except KeyboardInterrupt:  # while libraries load
        return 130


def _unforeseen(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What Python calls, before it exits with 1, for an exception that nobody has caught: a sentence, no traceback."""
    from postil.errors import PostilError
    from postil.show import Screen

    what = f"{kind.__name__}: {error}".removesuffix(": ")
    Screen(as_json="--json" in sys.argv[1:]).error(PostilError("unexpected", what=what))


def _wanted(arguments: Sequence[str]) -> str | None:
    for i, argument in enumerate(arguments):
        if argument == "--lang" and i + 1 < len(arguments):
            return arguments[i + 1]
        if argument.startswith("--lang="):
            return argument.removeprefix("--lang=")
    return None


if __name__ == "__main__":
    sys.exit(main())
