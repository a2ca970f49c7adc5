"""A golden set: what a remote model answers to your questions, recorded while it can still be asked.

Only a person's own command comes here: nothing that arrives over HTTP makes this program ask an address.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postil.errors import EngineError, FileError
from postil.records import Event, Message
from postil.remote import Client, Names
from postil.secret import Address
from postil.settings import remote_key

IN_A_ROW = 5  # questions that may be refused one after another
OF_ONE_QUESTION = (400, 413, 422)  # refusals that say nothing of the next one
NAMES = Names("--endpoint", "POSTIL_REMOTE_KEY")


@dataclass(frozen=True)
class Remote:
    """A model behind an endpoint that speaks OpenAI's chat completions. `per_minute`: requests at most."""

    endpoint: str
    model: str
    system: str | None = None
    max_tokens: int | None = None
    per_minute: float = 60.0

    def asked(self, question: str) -> tuple[Message, ...]:
        system = (Message("system", self.system),) if self.system else ()
        return (*system, Message("user", question))


class Cannot(Exception):
    """The service refuses this one question."""


def record(path: Path, output: Path, remote: Remote, *, sheet: str | None = None, column: str | None = None,
           emit: Callable[[Event], None] = lambda event: None,
           sleep: Callable[[float], None] = time.sleep) -> dict[str, Any]:  # fmt: skip
    """Ask every question of a file once and write `output`: {"messages": [...]} a line, for `evaluate --data`.

    Each answer is kept in OUTPUT.part as it comes, so that a call after an interruption goes on. Raises EngineError
    as `remote.Client` does, and FileError, DataError of the file.
    """
    from postil import dataset as data

    asked = data.questions(path, sheet=sheet, column=column)
    if output.suffix.lower() != ".jsonl":
        raise FileError("golden_name", path=str(output))
    questions = list(dict.fromkeys(asked.questions.values()))
    ask = _Asker(remote, sleep)
    with suppress(OSError):
        output.parent.mkdir(parents=True, exist_ok=True)
    journal = _Journal(output, remote)
    earlier = sum(question in journal.answers for question in questions)
    refused: list[str] = []
    streak = 0
    for question in questions:
        if question in journal.answers:
            continue
        try:
            journal.put(question, ask(question))
            streak = 0
        except Cannot as reason:
            refused.append(question)
            streak += 1
            if streak == IN_A_ROW:
                raise EngineError(
                    "remote_refused",
                    status=400,
                    said=str(reason),
                    endpoint=remote.endpoint[:200],
                    setting=NAMES.setting,
                    key=NAMES.key,
                ) from None
        emit(Event("answers", {"done": len(journal.answers), "of": len(questions)}))
    answered = [question for question in questions if question in journal.answers]
    _write(output, remote, answered, journal.answers)
    journal.close()
    ask.close()
    return {"output": str(output), "model": remote.model, "questions": len(questions), "answered": len(answered),
            "from_earlier": earlier, "refused": refused, "cut": ask.cut,
            "repeated": len(asked.questions) - len(questions)}  # fmt: skip


def _write(output: Path, remote: Remote, questions: Sequence[str], answers: Mapping[str, str]) -> None:
    """The whole set at once: it is there whole or not at all."""
    from postil.store import in_our_words, write_text

    if not questions:
        raise EngineError("remote_silent", model=remote.model)
    lines = (
        {"messages": [message.as_json() for message in (*remote.asked(one), Message("assistant", answers[one]))]}
        for one in questions
    )
    with in_our_words():
        write_text(output, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


class _Journal:
    """Answers as they come, one line each, for this model, endpoint and system prompt alone."""

    def __init__(self, output: Path, remote: Remote) -> None:
        self._path = output.with_name(output.name + ".part")
        self._of = [remote.endpoint, remote.model, remote.system, remote.max_tokens]
        self.answers: dict[str, str] = {}
        with suppress(FileNotFoundError):
            for line in self._path.read_text("utf-8", "replace").splitlines():
                with suppress(ValueError, KeyError, TypeError):  # the last line may be half of one
                    told = json.loads(line)
                    if told["of"] == self._of:
                        self.answers[told["question"]] = told["answer"]
        try:
            self._file = self._path.open("a", encoding="utf-8", newline="\n")
            self._file.write("\n")
        except OSError as error:
            raise FileError("file_not_written", path=str(self._path), why=str(error)) from None

    def put(self, question: str, answer: str) -> None:
        self._file.write(json.dumps({"of": self._of, "question": question, "answer": answer}) + "\n")
        self._file.flush()
        self.answers[question] = answer

    def close(self) -> None:
        """All of it stands in the output now."""
        self._file.close()
        self._path.unlink(missing_ok=True)


class _Asker:
    """One question after another, at a pace that the service bears."""

    def __init__(self, remote: Remote, sleep: Callable[[float], None]) -> None:
        self._remote, self._sleep = remote, sleep
        self._client = Client(Address(remote.endpoint), remote_key, NAMES, sleep=sleep)
        self._last = -1e9
        self.cut = 0  # answers that ended because of their length

    def __call__(self, question: str) -> str:
        """Raises Cannot for this question alone, EngineError when there is no use in going on."""
        from postil.evaluate import visible

        self._pace()
        try:
            answer = self._client.chat(self._body(question))
        except EngineError as error:
            if error.code == "remote_refused" and error.values["status"] in OF_ONE_QUESTION:
                raise Cannot(error.values["said"]) from None
            raise
        text = visible(answer.text).strip()  # without what a model thought before it
        if not text:
            raise Cannot(answer.finish)
        self.cut += answer.finish == "length"
        return text

    def close(self) -> None:
        self._client.close()

    def _body(self, question: str) -> dict[str, Any]:
        messages = [message.as_json() for message in self._remote.asked(question)]
        length = {"max_tokens": self._remote.max_tokens} if self._remote.max_tokens else {}
        return {"model": self._remote.model, "temperature": 0, "messages": messages, **length}

    def _pace(self) -> None:
        early = self._last + 60.0 / self._remote.per_minute - time.monotonic()
        if early > 0:
            self._sleep(early)
        self._last = time.monotonic()
