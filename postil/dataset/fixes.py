"""All problems that a click can mend, mended at once: the corrections that do it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from postil.dataset.actions import chosen
from postil.dataset.load import load
from postil.dataset.raw import Raw
from postil.errors import DataError
from postil.records import Corrections, Dataset, Issue

ROUNDS = 10  # mending brings more to light: rows that differed only by their HTML are the same row twice


def fix_all(
    raw: Raw, start: Corrections | None = None, codes: Sequence[str] | None = None, **how: Any
) -> tuple[Corrections, Dataset]:
    """The corrections that mend what clicks can mend, with those of `start`, and the data set as it is with them.

    codes: only issues of these codes. how: sheet, columns, system, instruction, as `load` takes them.
    Raises what `load` raises for the file as it is; corrections after which nothing could be understood are not taken.
    """
    right = start or Corrections()
    found = _loaded(raw, right, how)
    for _ in range(ROUNDS):
        issues = chosen(found.issues, codes)
        if not issues:
            break
        further = applied(right, issues)
        try:
            right, found = further, _loaded(raw, further, how)
        except DataError:
            break
    return right, found


def applied(right: Corrections, issues: Sequence[Issue]) -> Corrections:
    """These corrections and what one click on each of `issues` adds to them."""
    edits, without, mask = dict(right.edits), set(right.without), right.mask
    for issue in sorted(issues, key=lambda issue: issue.code == "template_left"):  # its text has had all other cleaning
        action: Mapping[str, Any] = issue.action or {"kind": ""}
        if action["kind"] == "edit":
            edits[action["cell"]] = action["text"]
        elif action["kind"] == "leave_out":
            without.update(action["rows"])
        elif action["kind"] == "mask":
            mask = True
    return Corrections(edits, tuple(sorted(without)), mask)


def _loaded(raw: Raw, right: Corrections, how: Mapping[str, Any]) -> Dataset:
    return load(raw, mask=right.mask, edits=right.edits, without=right.without, **how)
