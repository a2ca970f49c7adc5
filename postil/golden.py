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
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from postil.errors import EngineError, FileError
from postil.records import Event, Message
from postil.settings import remote_key

TRIES = 5
SECONDS = 120.0  # for one answer
LONGEST_WAIT = 120.0  # that a service may ask for
MOST_BYTES = 4 << 20
IN_A_ROW = 5  # questions that may be refused one after another
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Remote:
    """A model behind an endpoint that speaks OpenAI's chat completions. `per_minute`: requests at most."""

    endpoint: str
    model: str
    system: str | None = None
    max_tokens: int | None = None
    per_minute: float = 60.0

    @property
    def url(self) -> str:
        """Where to ask. Raises EngineError `remote_address`, `remote_open`: a key never travels in the open."""
        parts = urlsplit(self.endpoint.strip())
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or "@" in parts.netloc:
            raise EngineError("remote_address", endpoint=self.endpoint[:200])
        if parts.scheme == "http" and parts.hostname not in LOOPBACK:
            raise EngineError("remote_open", endpoint=self.endpoint[:200])
        return f"{self.endpoint.strip().rstrip('/')}/chat/completions"

    def asked(self, question: str) -> tuple[Message, ...]:
        system = (Message("system", self.system),) if self.system else ()
        return (*system, Message("user", question))


class Cannot(Exception):
    """The service refuses this one question."""


def record(path: Path, output: Path, remote: Remote, *, sheet: str | None = None, column: str | None = None,
           emit: Callable[[Event], None] = lambda event: None,
           sleep: Callable[[float], None] = time.sleep) -> dict[str, Any]:  # fmt: skip
    """Ask every question of a file once and write `output`: {"messages": [...]} a line, for `evaluate --data`.

    Each answer is kept in OUTPUT.part as it comes, so that a call after an interruption goes on. Raises EngineError:
    remote_address, remote_open, remote_key, remote_unreachable, remote_refused; and FileError, DataError of the file.
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
                raise EngineError("remote_refused", status="400", said=str(reason)) from None
        emit(Event("answers", {"done": len(journal.answers), "of": len(questions)}))
    answered = [question for question in questions if question in journal.answers]
    _write(output, remote, answered, journal.answers)
    journal.close()
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


class _Stay(HTTPRedirectHandler):
    """A key goes to the address that was named, and to no other."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class _Asker:
    """One question after another, at a pace that the service bears."""

    def __init__(self, remote: Remote, sleep: Callable[[float], None]) -> None:
        self._remote, self._sleep, self._key = remote, sleep, remote_key()
        if not self._key.isascii() or not self._key.isprintable():
            raise EngineError("remote_key")
        self._url = remote.url
        self._opener = build_opener(_Stay())
        self._last = -1e9
        self.cut = 0  # answers that ended because of their length

    def __call__(self, question: str) -> str:
        """Raises Cannot for this question alone, EngineError when there is no use in going on."""
        for attempt in range(TRIES):
            self._pace()
            try:
                return self._answer(self._send(question))
            except HTTPError as error:
                said = self._said(error)
                if error.code in (400, 413, 422):
                    raise Cannot(said) from None
                if error.code not in (408, 409, 429) and error.code < 500:
                    raise EngineError("remote_refused", status=str(error.code), said=said) from None
                wait = _wanted_wait(error)
                if attempt == TRIES - 1:
                    raise EngineError("remote_refused", status=str(error.code), said=said) from None
            except (URLError, OSError, ValueError, LookupError, TypeError) as error:
                wait = None
                if attempt == TRIES - 1:
                    why = self._hidden(str(getattr(error, "reason", error)))
                    raise EngineError("remote_unreachable", endpoint=self._remote.endpoint[:200], why=why) from None
            self._sleep(wait if wait is not None else 2.0**attempt)
        raise AssertionError("the last try returns or raises")

    def _pace(self) -> None:
        early = self._last + 60.0 / self._remote.per_minute - time.monotonic()
        if early > 0:
            self._sleep(early)
        self._last = time.monotonic()

    def _send(self, question: str) -> Any:
        told = {"model": self._remote.model, "temperature": 0,
                "messages": [message.as_json() for message in self._remote.asked(question)]}  # fmt: skip
        if self._remote.max_tokens:
            told["max_tokens"] = self._remote.max_tokens
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "postil"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = Request(self._url, json.dumps(told).encode(), headers)  # noqa: S310  `url` takes http and https alone
        with self._opener.open(request, timeout=SECONDS) as answer:
            return json.loads(answer.read(MOST_BYTES))

    def _answer(self, told: Any) -> str:
        """The words of an answer, without what a model thought before it."""
        from postil.evaluate import visible

        choice = told["choices"][0]
        text = visible(str(choice["message"]["content"] or "")).strip()
        if not text:
            raise Cannot(str(choice.get("finish_reason")))
        self.cut += choice.get("finish_reason") == "length"
        return text

    def _said(self, error: HTTPError) -> str:
        """What a refusal says, fit for a screen."""
        text = error.read(2000).decode("utf-8", "replace")
        with suppress(ValueError, LookupError, TypeError):
            text = str(json.loads(text)["error"]["message"])
        return self._hidden(text)

    def _hidden(self, text: str) -> str:
        shown = text.replace(self._key, "***") if self._key else text
        return "".join(char if char.isprintable() else " " for char in shown)[:300]


def _wanted_wait(error: HTTPError) -> float | None:
    """The seconds that the service asks for, within reason."""
    with suppress(TypeError, ValueError):
        return min(max(float(error.headers["retry-after"]), 0.0), LONGEST_WAIT)
    return None
