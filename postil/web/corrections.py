"""What a click adds to the corrections of a data set: plain functions from one reading to the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Reading = Mapping[str, Any]


def with_action(reading: Reading, action: Mapping[str, Any]) -> dict[str, Any]:
    """The reading with one issue mended: its text put right, its rows left out, or personal data masked."""
    if action["kind"] == "edit":
        return with_edit(reading, action["cell"], action["text"])
    if action["kind"] == "leave_out":
        return {**reading, "without": sorted({*(reading.get("without") or ()), *action["rows"]})}
    return {**reading, "mask": True}


def with_edit(reading: Reading, cell: str, written: str) -> dict[str, Any]:
    return {**reading, "edits": {**(reading.get("edits") or {}), cell: written}}


def without_edit(reading: Reading, cell: str) -> dict[str, Any]:
    """The cell as it stands in the file."""
    return {**reading, "edits": {key: text for key, text in (reading.get("edits") or {}).items() if key != cell}}
