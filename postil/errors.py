"""Every error that Postil raises on purpose.

PostilError
├── FileError      a file cannot be read or written: missing, locked, broken, hostile, too large
├── DataError      the data cannot be learned from: no answers, too few rows, labels that would be wrong
├── PlanError      a parameter is unknown, out of range, or does not go with another
├── ModelError     a base model cannot be found, fetched, trusted or loaded
├── TrainError     a run cannot start, go on or be resumed
├── AdapterError   a directory is no adapter of ours, or does not fit its base model
├── ExportError    an adapter cannot be made into what others read, or cannot be held against it
├── EngineError    a model cannot answer now: too many wait, too long a question, its process ended
├── StoreError     something cannot be remembered or found: no such object, no room, a database that does not do
├── JobError       a job cannot be made, or cannot do what is asked of it in its present state
└── RequestError   what came over HTTP cannot be understood, is not allowed, or is too much

Each carries a `code`, which names the sentences `error.<code>.cause` and `error.<code>.remedy` in
`locales/` and the anchor in docs/errors.md. The message names what happened and what to do about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from postil.locales import in_a_row, say
from postil.secret import hide


class PostilError(Exception):
    """An error with a `code`, a cause and a remedy, both in Chinese and in English.

    `values` fill the sentences; an address among them tells no user and no password. `rows` are the rows of the user's
    file that it is about, if any.
    """

    def __init__(self, code: str, *, rows: Sequence[int] = (), **values: Any) -> None:
        self.code = code
        self.rows = tuple(rows)
        self.values: dict[str, Any] = {
            name: hide(value) if isinstance(value, str) else value for name, value in values.items()
        }
        super().__init__(code)

    def cause(self, lang: str | None = None) -> str:
        return say(f"error.{self.code}.cause", lang, **self.values)

    def remedy(self, lang: str | None = None) -> str:
        return say(f"error.{self.code}.remedy", lang, **self.values)

    def __str__(self) -> str:
        return in_a_row(self.cause(), self.remedy())

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.code, self.rows, self.values)


def _again(kind: type[PostilError], code: str, rows: Sequence[int], values: dict[str, Any]) -> PostilError:
    return kind(code, rows=rows, **values)


class FileError(PostilError):
    """A file cannot be read or written."""


class DataError(PostilError):
    """The data cannot be learned from as it is."""


class PlanError(PostilError):
    """A parameter is unknown, out of range, or does not go with another."""


class ModelError(PostilError):
    """A base model cannot be found, fetched, trusted or loaded."""


class TrainError(PostilError):
    """A run cannot start, go on or be resumed."""


class AdapterError(PostilError):
    """A directory is no adapter of ours, or does not fit its base model."""


class ExportError(PostilError):
    """An adapter cannot be made into what others read, or what they say cannot be held against it."""


class EngineError(PostilError):
    """A model cannot answer now."""


class StoreError(PostilError):
    """Something cannot be remembered or found."""


class JobError(PostilError):
    """A job cannot be made, or cannot do what is asked of it now."""


class RequestError(PostilError):
    """What came over HTTP cannot be understood, is not allowed, or is too much."""
