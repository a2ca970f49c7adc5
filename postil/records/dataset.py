"""What a file becomes: messages, the examples that they make, and what was found and mended on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from postil.locales import say

Role = Literal["system", "user", "assistant", "tool"]
Severity = Literal["error", "warning", "advice"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a dialogue. `weight` is OpenAI's: 0 means that an assistant message is context only."""

    role: Role
    content: str
    weight: float = 1.0
    extra: Mapping[str, Any] = field(default_factory=dict)  # name, tool_calls, tool_call_id: kept as they were

    def as_json(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"role": self.role, "content": self.content, **self.extra}
        if self.weight != 1.0:
            shown["weight"] = self.weight
        return shown


@dataclass(frozen=True, slots=True)
class Example:
    """What a model learns from: a dialogue with at least one assistant message, and the rows it was made of."""

    messages: tuple[Message, ...]
    rows: tuple[int, ...]
    group: str = ""  # examples of one group never stand on both sides of a split
    tools: tuple[Mapping[str, Any], ...] = ()
    rejected: str | None = None  # of preference tuning: the answer that is not wanted

    @property
    def question(self) -> tuple[Message, ...]:
        """All that stands before the last answer."""
        return self.messages[: self._last_answer()]

    @property
    def answer(self) -> str:
        """The last answer."""
        return self.messages[self._last_answer()].content

    def as_json(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"messages": [message.as_json() for message in self.messages]}
        if self.tools:
            shown["tools"] = [dict(tool) for tool in self.tools]
        if self.rejected is not None:
            shown["rejected"] = self.rejected
        return shown

    def _last_answer(self) -> int:
        return max(i for i, message in enumerate(self.messages) if message.role == "assistant")


@dataclass(frozen=True)
class Corrections:
    """What a person has put right about a file, without touching it.

    edits: address of a text (B7 in a table, 12:answer in a record, 12:text in a line) -> what shall stand there;
    without: numbers of the rows to leave out; mask: replace personal data by what it is.
    """

    edits: Mapping[str, str] = field(default_factory=dict)
    without: tuple[int, ...] = ()
    mask: bool = False

    def as_json(self) -> dict[str, Any]:
        return {"edits": dict(self.edits), "without": list(self.without), "mask": self.mask}


@dataclass(frozen=True, slots=True)
class Issue:
    """A problem in the data. `issue.<code>.message` and `issue.<code>.fix` in `locales/` are its sentences.

    action: how one click mends it: {"kind": "leave_out", "rows": [...]}, {"kind": "edit", "cell": "B7", "text": ...} or
    {"kind": "mask"}; None where a person must decide.
    """

    code: str
    severity: Severity
    row: int | None = None
    cell: str | None = None  # "B7" in a workbook
    values: Mapping[str, Any] = field(default_factory=dict)
    action: Mapping[str, Any] | None = None

    def message(self, lang: str | None = None) -> str:
        return say(f"issue.{self.code}.message", lang, **self.values)

    def fix(self, lang: str | None = None) -> str:
        return say(f"issue.{self.code}.fix", lang, **self.values)

    def as_json(self) -> dict[str, Any]:
        return {"code": self.code, "severity": self.severity, "row": self.row, "cell": self.cell,
                "message": self.message(), "fix": self.fix(),
                "action": None if self.action is None else dict(self.action)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Repair:
    """A change that Postil made to the text of a record, as a before/after pair. `repair.<code>` is its sentence."""

    code: str
    row: int | None
    before: str
    after: str
    cell: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    def message(self, lang: str | None = None) -> str:
        return say(f"repair.{self.code}", lang, **self.values)

    def as_json(self) -> dict[str, Any]:
        return {"code": self.code, "row": self.row, "cell": self.cell, "message": self.message(),
                "before": self.before, "after": self.after}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Left:
    """A record that no example uses, with the reason: dropped (it should have been data) or not data.

    `issue.<code>.message` is its sentence.
    """

    row: int
    code: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def message(self, lang: str | None = None) -> str:
        return say(f"issue.{self.code}.message", lang, **self.values)

    def as_json(self) -> dict[str, Any]:
        return {"row": self.row, "code": self.code, "message": self.message()}


@dataclass(frozen=True)
class Dataset:
    """A checked file. Each of its `rows` records is used by an example, or dropped, or not data: never silent."""

    path: Path
    sha256: str
    format: str  # xlsx xls csv tsv txt json jsonl parquet
    encoding: str
    rows: int
    examples: tuple[Example, ...]
    dropped: tuple[Left, ...] = ()
    not_data: tuple[Left, ...] = ()
    issues: tuple[Issue, ...] = ()
    repaired: tuple[Repair, ...] = ()
    shape: str = ""  # table, messages, conversation, sharegpt, alpaca, pairs, blocks, ... or "mixed"
    sheet: str | None = None
    header_row: int | None = None
    columns: Mapping[str, str] = field(default_factory=dict)  # role -> column letter or key
    column_names: Mapping[str, str] = field(default_factory=dict)  # role -> the header's own words
    system: str | None = None  # fixed for all rows, by --system
    instruction: str | None = None  # fixed for all rows, by --instruction

    @property
    def used(self) -> int:
        return self.rows - len(self.dropped) - len(self.not_data)

    @property
    def untold(self) -> tuple[Left, ...]:
        """The dropped records of which no issue tells already, and that no person has left out."""
        told = {(issue.row, issue.code) for issue in self.issues}
        return tuple(
            left for left in self.dropped if (left.row, left.code) not in told and left.code != "left_out_by_user"
        )

    @property
    def edited(self) -> int:
        """How many texts a person has put right."""
        return sum(repair.code == "edited_by_user" for repair in self.repaired)

    @property
    def left_out(self) -> int:
        """How many records a person has left out."""
        return sum(left.code == "left_out_by_user" for left in self.dropped)

    def as_json(self) -> dict[str, Any]:
        return {
            "format": self.format, "encoding": self.encoding, "sheet": self.sheet, "header_row": self.header_row,
            "columns": dict(self.columns), "shape": self.shape,
            "rows": self.rows, "used": self.used, "not_data": len(self.not_data), "examples": len(self.examples),
            "edited": self.edited, "left_out": self.left_out,
            "dropped": [left.as_json() for left in self.dropped],
            "not_data_rows": [left.as_json() for left in self.not_data],
            "repaired": [repair.as_json() for repair in self.repaired],
            "issues": [issue.as_json() for issue in self.issues],
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Split:
    """Training, validation (every choice is made on it) and test (the verdict only, opened once)."""

    training: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
