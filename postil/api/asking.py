"""Commands of ours, run in a process of their own: what a file does to it, it does not do to the server.

The server itself loads no model library, and reads no file that came from outside.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postil.api.refusals import refused
from postil.child import Limit, TookTooLong, run
from postil.locales import in_a_row, language, say
from postil.settings import for_worker

if TYPE_CHECKING:
    from postil.store import Store
    from postil.store.tables import File

Ask = Callable[[Sequence[str], float], Any]  # a command of ours, with the seconds that it may compute
ON_ALL_CORES = ("plan",)  # it measures them
JUDGE_SECONDS = 60.0
CHECK_SECONDS = 120.0
NEEDED_EXAMPLES = 1
_ENDINGS = frozenset({".csv", ".tsv", ".txt", ".json", ".jsonl", ".xlsx", ".xls", ".xlsb", ".ods", ".md", ".parquet"})


class CommandRefused(Exception):
    """An error that the other process told, in its own words."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.code, self.rows = str(told["code"]), list(told.get("rows", ()))
        self.cause, self.remedy = str(told["cause"]), str(told["remedy"])
        self.message = in_a_row(self.cause, self.remedy)
        super().__init__(self.code)


def ask(arguments: Sequence[str], seconds: float) -> Any:
    """What `postil ... --json` says. seconds: of computing, on each core that such a command takes.

    Raises Refused `took_too_long`, `waited_too_long`, and the error that the command ends with.
    """
    command = [sys.executable, "-m", "postil", *arguments, "--json", "--lang", language()]
    threads = os.cpu_count() or 1 if arguments[0] in ON_ALL_CORES else 1
    try:
        done = run(command, Limit(seconds, threads), env=for_worker())
    except TookTooLong as error:
        raise refused(
            "took_too_long" if error.by == "cpu" else "waited_too_long", seconds=round(error.seconds)
        ) from None
    lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
    try:
        told = json.loads(lines[-1]) if lines else None
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise refused("internal_error", request="-")
    if "error" in told and done.returncode:
        raise CommandRefused(told["error"])
    return told


def judge(path: Path) -> str | None:
    """What keeps a training file from being learned from: a sentence with the line, or None."""
    try:
        told = ask(["check", str(path)], JUDGE_SECONDS)
    except CommandRefused as error:
        where = f"{say('api.row', row=error.rows[0])} " if error.rows else ""
        return f"{where}{error.message}".replace(str(path), path.name)
    if told["examples"] >= NEEDED_EXAMPLES:
        return None
    first = next((f"{say('api.row', row=left['row'])} {left['message']}" for left in told["dropped"]), "")
    return first or say("api.no_examples")


@contextmanager
def cleaned(ask: Ask, store: Store, row: File, options: Callable[[Path], Sequence[str]]) -> Iterator[tuple[Path, int]]:
    """A file of the store as JSONL of messages, a line for each example that `postil check` finds, and their number.

    options: of the command, for where the file lies.
    """
    with on_disk(store, row) as path:
        fixed = path.with_name("fixed.jsonl")
        told = ask(["check", str(path), f"--fixed={fixed}", *options(path)], CHECK_SECONDS)
        yield fixed, int(told["examples"])


@contextmanager
def on_disk(store: Store, row: File) -> Iterator[Path]:
    """A file of the store as a file with a plain name and the ending that its owner gave it, if that is a known one."""
    ending = Path(row.filename).suffix.lower()
    with tempfile.TemporaryDirectory(prefix="asked-", dir=store.directory) as directory:
        path = Path(directory) / f"data{ending if ending in _ENDINGS else ''}"
        store.blobs.copy_to(row.sha256, path)
        yield path
