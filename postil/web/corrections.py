"""What a click adds to the corrections of a data set, and how its rows look with them: plain functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Reading = Mapping[str, Any]
LEFT_OUT = "left_out_by_user"


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


def with_row(reading: Reading, row: int) -> dict[str, Any]:
    """The reading with a row that was left out, or not, in use."""
    return {**reading, "without": [number for number in reading.get("without") or () if number != row]}


def with_texts(rows: Sequence[Mapping[str, Any]], reading: Reading) -> list[dict[str, Any]]:
    """The rows of a window as they stand with these corrections, before anything has checked them."""
    edits, without = reading.get("edits") or {}, set(reading.get("without") or ())
    return [{**row, "cells": [_as_written(cell, edits) for cell in row["cells"]], **_state(row, without)}
            for row in rows]  # fmt: skip


def _as_written(cell: Mapping[str, Any], edits: Mapping[str, str]) -> dict[str, Any]:
    before = cell.get("before", cell["text"])
    if cell["at"] in edits:
        return {**cell, "text": edits[cell["at"]], "before": before}
    return {**{name: value for name, value in cell.items() if name != "before"}, "text": before}


def _state(row: Mapping[str, Any], without: set[int]) -> dict[str, Any]:
    if row["number"] in without:
        return {"state": "dropped", "code": LEFT_OUT}
    return {"state": "used", "code": None} if row["code"] == LEFT_OUT else {}


# ── two who put the same data set right ──

Spot = tuple[str, Any]  # what of a reading it is, and where: ("edits", "B7"), ("without", 9), ("system", "")


def with_changes(begun: Reading, mine: Reading, theirs: Reading) -> tuple[dict[str, Any], list[Spot]]:
    """Their reading with all that I changed since `begun`, and the spots that both changed: there, mine stands."""
    if len({reading.get("sheet") for reading in (begun, mine, theirs)}) > 1 and begun not in (mine, theirs):
        return dict(mine), [("sheet", "")]  # the same cell of two sheets is two cells: nothing of theirs fits here
    before, here, there = _spots(begun), _spots(mine), _spots(theirs)
    merged, both = dict(there), []
    for spot in [*before, *(spot for spot in here if spot not in before)]:
        if here.get(spot) == before.get(spot):
            continue
        if there.get(spot) not in (before.get(spot), here.get(spot)):
            both.append(spot)
        merged.pop(spot, None)
        if spot in here:
            merged[spot] = here[spot]
    return _reading(merged), both


def _spots(reading: Reading) -> dict[Spot, Any]:
    """A reading as one flat table."""
    spots: dict[Spot, Any] = {}
    for name, content in reading.items():
        if isinstance(content, Mapping):
            spots.update({(name, key): text for key, text in content.items()})
        elif isinstance(content, list):
            spots.update({(name, row): True for row in content})
        elif content:
            spots[name, ""] = content
    return spots


def _reading(spots: Mapping[Spot, Any]) -> dict[str, Any]:
    reading: dict[str, Any] = {}
    for (name, key), content in spots.items():
        if name == "without":
            reading[name] = sorted([*reading.get(name, ()), key])
        elif key == "":
            reading[name] = content
        else:
            reading.setdefault(name, {})[key] = content
    return reading
