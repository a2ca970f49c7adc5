"""What the worker's program does with kinds of work that need no model of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openpyxl
import pytest

from postil.errors import EngineError
from postil.evaluate import InMemoryJudge
from postil.jobs import run
from postil.store import sha256

ROWS = [{"rows": [i + 2], "question": f"q{i}", "reference": "r", "base": f"=old {i}", "tuned": f"new {i}"}
        for i in range(22)]  # fmt: skip
BRIEF = {"judge": "endpoint", "kind": "service_qa", "prompt": "{question}|{a}|{b}", "criteria": "short"}


def spec(directory: Path, earlier: list[str]) -> dict[str, Any]:
    file = directory / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS), "utf-8")
    return {"inputs": {"training": {"path": str(file), "sha256": sha256(file)}}, "settings": BRIEF, "earlier": earlier}


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> InMemoryJudge:
    made = InMemoryJudge(lambda prompt: "A" if prompt.split("|")[1].startswith("new") else "B")

    @contextmanager
    def opened(named: str) -> Iterator[InMemoryJudge]:
        assert named == "endpoint"
        yield made

    monkeypatch.setattr("postil.judging.open_judge", opened)
    return made


def test_a_judgement_goes_on_where_an_earlier_attempt_stood(
    judge: InMemoryJudge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "attempt-1", tmp_path / "attempt-2"
    events: list[Any] = []
    for directory in (first, second):
        directory.mkdir()
    says = judge._says
    monkeypatch.setattr(judge, "_says", lambda prompt: says(prompt) if len(judge.asked) < 11 else lost())
    desk: Any = SimpleNamespace(directory=first, emit=events.append)
    with pytest.raises(EngineError):
        run.judgement(spec(tmp_path, []), desk)
    monkeypatch.setattr(judge, "_says", says)
    judge.asked.clear()
    desk = SimpleNamespace(directory=second, emit=events.append)
    told = run.judgement(spec(tmp_path, [str(first)]), desk)
    assert len(judge.asked) == 44 - 10
    assert told["result"]["preference"].items() >= {"outcome": "better", "won": 22}.items()
    assert (told["result"]["agreement"], told["result"]["rows"]) == (1.0, 22)
    assert set(told["files"]) == {"judgement.json", "judgement.xlsx"}, "what was said on the way is not published"
    assert all(sha256(second / "run" / name) == digest for name, digest in told["files"].items())
    sheet = openpyxl.load_workbook(second / "run" / "judgement.xlsx").worksheets[0]
    assert sheet.max_row == 23 and sheet.cell(2, 4).value == "=old 0" and sheet.cell(2, 4).data_type == "s"
    assert events[-1].data["percent"] == 100.0


def lost() -> str:
    raise EngineError("remote_unreachable", endpoint="POSTIL_JUDGE_URL", setting="POSTIL_JUDGE_URL", why="gone")


def test_every_kind_can_be_ordered_and_run() -> None:
    from typing import get_args

    from postil.api.studio.tasks import KINDS
    from postil.jobs.order import Kind
    from postil.jobs.queue import PREFIX, PURPOSES

    assert set(run.KINDS) == set(get_args(Kind)) == set(PREFIX) == set(PURPOSES) == {"training", *KINDS}
