"""How one click mends a problem: leave rows out, put a cleaned text in its place, or mask personal data.

What a click does is a correction, which the file itself never sees. A problem that only a person can judge has none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from postil.dataset.places import Places
from postil.dataset.repair import mended
from postil.dataset.suspicious import without_template
from postil.records import Dataset, Issue

CLEANED = frozenset(("control_characters", "hidden_characters", "compatibility_characters", "html_left"))
EXAMPLES = frozenset(  # problems of an example that is used; without it they are gone
    (
        "answer_too_long", "garbled_text", "injection_text", "near_duplicate", "secret_text", "trigger_text",
        "label_all_masked", "label_cut", "label_nothing_asked",
    )
)  # fmt: skip
Action = Mapping[str, Any]


def with_actions(dataset: Dataset, places: Places | None = None) -> Dataset:
    """The data set, each of its issues with the click that mends it, where there is one.

    `places`: the texts of the file, without which no cleaned text can be offered.
    """
    maker = _Maker(dataset, places)
    issues = (issue if issue.action else replace(issue, action=maker.action(issue)) for issue in dataset.issues)
    return replace(dataset, issues=tuple(issues))


class _Maker:
    """Looks up which rows an example was made of, and which were dropped."""

    def __init__(self, dataset: Dataset, places: Places | None) -> None:
        self._places = places
        self._dropped = {(left.row, left.code) for left in dataset.dropped}
        self._with: defaultdict[int, set[int]] = defaultdict(set)
        for example in dataset.examples:
            for row in example.rows:
                self._with[row].update(example.rows)
        self._offered: set[tuple[str, str]] = set()  # (code, address)

    def action(self, issue: Issue) -> Action | None:
        if issue.row is None:
            return None
        if issue.code.startswith("personal_"):
            return {"kind": "mask"}
        if issue.code in CLEANED or issue.code == "template_left":
            return self._edit(issue, issue.row)
        if issue.code == "contradiction":
            earlier, later = sorted((issue.row, issue.values["other"]))
            return self._leave_out(later, earlier)
        if issue.code in EXAMPLES:
            return self._leave_out(issue.row, issue.values.get("first"))
        if (issue.row, issue.code) in self._dropped and issue.row not in self._with:
            return {"kind": "leave_out", "rows": [issue.row]}
        return None

    def _leave_out(self, row: int, kept: int | None = None) -> Action | None:
        """All rows of the example, unless that one which shall be kept is among them."""
        rows = sorted(self._with.get(row, {row}))
        return None if kept in rows else {"kind": "leave_out", "rows": rows}

    def _edit(self, issue: Issue, row: int) -> Action | None:
        """The text in which the trouble is: the issue's own cell, else the first of the row that has it."""
        texts = self._places.texts(row) if self._places else []
        for place, text in sorted(texts, key=lambda one: one[0] != issue.cell):
            if (issue.code, place) in self._offered or text.lstrip()[:1] in ("{", "["):
                continue  # JSON inside a text: what is taken out might hold it together
            after = _cleaned(issue.code, text)
            if after != text and (issue.code != "template_left" or issue.values["text"] in mended(text)):
                self._offered.add((issue.code, place))
                if after.strip():
                    return {"kind": "edit", "cell": place, "text": after}
                return self._leave_out(row)
        return None


def _cleaned(code: str, text: str) -> str:
    return without_template(mended(text)) if code == "template_left" else mended(text)


def chosen(issues: Sequence[Issue], codes: Sequence[str] | None) -> list[Issue]:
    """The issues that one click mends, of these codes alone if there are any."""
    return [issue for issue in issues if issue.action and (codes is None or issue.code in codes)]
