"""A finished run is asked: one question, base and tuned side by side, or a whole sheet of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postil.bases import open_adapter
from postil.locales import LANGUAGES, say
from postil.records import Answer, Event, Message
from postil.settings import quiet

if TYPE_CHECKING:
    from postil.dataset import Questions

ROWS_AT_ONCE = 32
SAVE_SECONDS = 30.0  # a long sheet takes seconds to write; so much work is lost at most when it is interrupted


class Comparison:
    """Base and tuned side by side, from one base in memory; the run's own system prompt and instruction are used."""

    def __init__(self, directory: Path) -> None:
        quiet()
        from postil.model.pair import open_pair

        self._adapter = open_adapter(directory)
        self._pair = open_pair(self._adapter)

    def ask(
        self,
        question: str,
        *,
        tuned: bool,
        say: Callable[[str], None] = lambda piece: None,
        sample: bool = False,
        system: str | None = None,
    ) -> Answer:
        """The answer of the tuned model, or of the base; `say` hears it piece by piece."""
        return self._pair.stream(self._messages(question, system), say, tuned=tuned, sample=sample)

    def answers(self, questions: Sequence[str], tell: Callable[[int], None]) -> list[Answer]:
        """The tuned model's answers to many questions."""
        return self._pair.answers([self._messages(question) for question in questions], tuned=True, tell=tell)

    def _messages(self, question: str, system: str | None = None) -> tuple[Message, ...]:
        from postil.dataset import ask

        plan = self._adapter.plan
        return ask(question, system or plan.system, plan.instruction)


def answer(
    directory: Path,
    path: Path,
    output: Path,
    *,
    sheet: str | None = None,
    column: str | None = None,
    emit: Callable[[Event], None] = lambda event: None,
) -> dict[str, Any]:
    """The user's own sheet back, with the tuned model's answers as a new column. Called again, it goes on."""
    from postil import dataset as data

    asked = data.questions(path, sheet=sheet, column=column, known=_asked_by(directory))
    filled = _Sheet(path, output, asked)
    filled.save()  # refuses a bad name at once
    comparison, started = Comparison(directory) if filled.left else None, time.monotonic()
    try:
        for start in range(0, len(filled.left), ROWS_AT_ONCE):
            rows = filled.left[start : start + ROWS_AT_ONCE]
            assert comparison is not None
            filled.put(rows, comparison.answers([asked.questions[row] for row in rows], lambda done: None))
            done, of = len(filled.answers), len(asked.questions)
            left = (time.monotonic() - started) / (start + len(rows)) * (of - done)
            emit(Event("answers", {"done": done, "of": of, "seconds_left": round(left, 1)}))
    finally:  # when a person ends it, too
        filled.save()
    return filled.as_json()


def _asked_by(directory: Path) -> str | None:
    """The header of the column that asked when the model was trained."""
    from postil.store import read_json

    told = read_json(directory / "plan.json")["data"] if (directory / "plan.json").exists() else {}
    header: str | None = told.get("column_names", {}).get("question")
    return header


class _Sheet:
    """A sheet that is being filled, with what an earlier call has filled already."""

    def __init__(self, path: Path, output: Path, asked: Questions) -> None:
        from postil.dataset import read_answers, read_doubtful

        self._path, self._output, self._asked = path, output, asked
        self.answers: dict[int, str] = read_answers(output, asked.questions, asked.column)
        self.doubtful = read_doubtful(output, asked.questions, asked.column)
        self.left = [row for row in asked.questions if row not in self.answers]
        self._earlier = len(self.answers)
        self._saved = -1  # answers
        self._saved_at = 0.0
        self._lost: Sequence[str] = ()

    def put(self, rows: Sequence[int], given: Sequence[Answer]) -> None:
        """Answers to rows. One without words is marked, so that nobody asks again for what does not come; one that did
        not end, or says the same over and over, is coloured."""
        from postil.evaluate import repeats, visible

        for row, one in zip(rows, given, strict=True):
            text = visible(one.text)
            if not one.stopped or repeats(text) or not text.strip():
                self.doubtful.add(row)
            self.answers[row] = text if text.strip() else say("marks.no_answer")
        if time.monotonic() - self._saved_at > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write the sheet, if there is anything new."""
        from postil.dataset import write_answers

        if len(self.answers) != self._saved:
            asked = self._asked
            self._lost = write_answers(
                self._path, self._output, asked.sheet, asked.header_row, self.answers, doubtful=self.doubtful
            )
            self._saved, self._saved_at = len(self.answers), time.monotonic()

    def as_json(self) -> dict[str, Any]:
        wordless = {say("marks.no_answer", lang) for lang in LANGUAGES}
        return {
            "output": str(self._output),
            "rows": len(self._asked.questions),
            "answered": len(self.answers),
            "from_earlier": self._earlier,
            "empty": self._asked.empty,
            "not_carried_over": list(self._lost),
            "without_words": sum(text in wordless for text in self.answers.values()),
            "doubtful": len(self.doubtful),
        }
