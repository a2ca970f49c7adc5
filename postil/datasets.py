"""What one does with a file before anything is learned from it: look at it, have it described, mend it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from postil import dataset as data
from postil import flow
from postil.locales import say
from postil.records import Corrections, Dataset

TABLE, FINDINGS = "table.db", "findings.db"
GAUGES = {"too_few_rows": "too_few", "few_rows": "few", "more_rows": "enough"}
LEAST, STEADY, ADVISED = 10, 100, (500, 1000)  # examples: to train at all, for steady results, and what is advised


def described(dataset: Dataset) -> dict[str, Any]:
    """What a check says of a file: its JSON, with the kind of data and whether there is enough of it."""
    from postil.plan import kind_of

    shown = {**dataset.as_json(), "column_names": dict(dataset.column_names), "kind": None}
    if dataset.examples:
        kind, reason, values = kind_of(dataset.examples)
        shown["kind"] = {"value": kind, "label": say(f"kind.{kind}"), "reason": say(f"reason.{reason}", **values)}
    found = next((issue for issue in dataset.issues if issue.code in GAUGES), None)
    shown["gauge"] = {
        "state": GAUGES[found.code] if found else "good", "examples": len(dataset.examples), "least": LEAST,
        "steady": STEADY, "advised": list(ADVISED), "message": found.message() if found else None,
        "fix": found.fix() if found else None,
    }  # fmt: skip
    return shown


def fix(
    path: Path, reading: flow.Reading, codes: Sequence[str] | None = None, base: str | None = None
) -> tuple[flow.Reading, Dataset]:
    """Mend all that a click can mend: the reading with these corrections, and the data set as it is with them.

    codes: only problems of these codes. The file is not touched.
    """
    raw = data.read(path, reading.sheet)
    start = Corrections(reading.edits, tuple(reading.without), reading.mask)
    right, found = data.fix_all(raw, start, codes, **flow.options(raw, reading))
    reading = replace(reading, edits=right.edits, without=right.without, mask=right.mask)
    return reading, flow.against(base, found)


def look(
    path: Path, reading: flow.Reading | None = None, *, sheet: str | None = None, offset: int = 0, limit: int = 50,
    only: str | None = None, keep: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Some rows of a file as a person sees them; with `reading`, what a check finds in each stands beside it.

    only: `issues` or the code of one: only rows that have it. keep: a directory in which `table.db` and `findings.db`
    are left, so that further windows of them are there at once.
    """
    with TemporaryDirectory() as made:
        place = keep or Path(made)
        place.mkdir(parents=True, exist_ok=True)
        (place / TABLE).unlink(missing_ok=True)
        data.keep_table(data.read(path), place / TABLE)
        if reading is None:
            return data.window(place / TABLE, None, sheet=sheet, offset=offset, limit=limit)
        keep_findings(flow.check(path, reading), place)
        return data.window(place / TABLE, place / FINDINGS, sheet=sheet, offset=offset, limit=limit, only=only)


def keep_findings(dataset: Dataset, place: Path) -> None:
    """Leave what was found of each row in `place`, for `dataset.window`."""
    place.mkdir(parents=True, exist_ok=True)
    (place / FINDINGS).unlink(missing_ok=True)
    data.keep_findings(dataset, place / FINDINGS)
