"""The log of a job, as a person reads it: no English in the Chinese one, whoever told it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import postil
from postil import locales
from postil.errors import JobError
from postil.jobs.executor import RunState
from postil.jobs.watch import _cause, _reason
from postil.locales import knows, say
from postil.web.desk import Desk
from postil.web.log import BY_KEY, event_words

JOBS = Path(postil.__file__).parent / "jobs"
HAN, ENGLISH = (
    re.compile(r"[\u4e00-\u9fff]"),
    re.compile(r"\b(the|was|job|created|started|step|has|is)\b", re.IGNORECASE),
)
VALUES = {"step": 7, "total_steps": 90, "train_loss": 1.5, "valid_loss": 1.25, "model": "ft:x"}


@pytest.fixture(autouse=True)
def _heard_by_nobody_else() -> Iterator[None]:
    """A page speaks to people without a command line; the tests after it do not."""
    before = locales._served.set(False)
    yield
    locales._served.reset(before)


def keys_of_tell() -> Iterator[str]:
    """The key of every event that is told with a sentence of OpenAI's in place of a code of ours."""
    for path in sorted(JOBS.glob("*.py")):
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "tell" and path.name != "ledger.py":
                key = next(keyword.value for keyword in call.keywords if keyword.arg == "key")
                parts = key.values if isinstance(key, ast.JoinedStr) else [key]
                yield str(parts[0].value).rstrip(":")  # type: ignore[attr-defined]


def told(key: str | None, code: str | None = None, **data: Any) -> Any:
    kind = "metrics" if key and key.startswith("metrics") else "message"
    return SimpleNamespace(key=key, code=code, data=data or None, type=kind, message="The job was created in English")


def reader(lang: str) -> Desk:
    return Desk(None, None, lang)  # type: ignore[arg-type]


def test_every_event_of_ours_is_told_apart() -> None:
    keys = set(keys_of_tell())
    assert keys == {*BY_KEY, "metrics"}
    assert all(knows(f"web.event.{key}") for key in BY_KEY)


@pytest.mark.parametrize("key", [*BY_KEY, "metrics"])
def test_the_chinese_log_has_no_english_sentence(key: str) -> None:
    job: Any = SimpleNamespace(error=None)
    chinese = event_words(reader("zh"), job, told(f"{key}:7", **VALUES))
    english = event_words(reader("en"), job, told(f"{key}:7", **VALUES))
    assert HAN.search(chinese) and not ENGLISH.search(chinese) and "{" not in chinese
    assert not HAN.search(english) and "in English" not in english


def test_a_step_without_a_loss_is_still_told() -> None:
    job: Any = SimpleNamespace(error=None)
    for lang in ("zh", "en"):
        assert "–" in event_words(reader(lang), job, told("metrics:3", step=3, total_steps=9))


def test_why_a_job_failed_is_told_in_the_readers_language_also_in_the_log() -> None:
    error = JobError("worker_lost", times=5, reason=_reason(RunState("exited", None, 9)))
    job: Any = SimpleNamespace(error={"postil": error.code, "values": error.values, "message": error.cause("en")})
    words = event_words(reader("zh"), job, told("end", "job_failed", message=error.cause("en")))
    assert "信号 9" in words and not ENGLISH.search(words)
    assert "signal 9" in event_words(reader("en"), job, told("end", "job_failed", message=""))


@pytest.mark.parametrize(
    "state", [RunState("exited", None, 9), RunState("exited", None, 15), RunState("exited", 3), RunState("lost")]
)
def test_why_a_worker_is_gone_is_said_in_both_languages(state: RunState) -> None:
    reason = _reason(state)
    assert HAN.search(say("event.worker_lost", "zh", reason=reason, step=4))
    assert not ENGLISH.search(reason["zh"]) and not HAN.search(say("event.worker_lost", "en", reason=reason, step=4))


def test_what_a_worker_said_of_its_end_is_said_in_both_languages() -> None:
    known = {"postil": "storage_full", "values": {}, "message": "The disk is full."}
    assert set(_cause(known)) == {"en", "zh"}
    assert _cause({**known, "postil": "of_another_version"}) == "The disk is full."
