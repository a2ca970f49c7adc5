"""The worker's program: how it ends when something that is not its fault goes wrong."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from postil.errors import StoreError
from postil.jobs import run
from postil.jobs.attempt import STORAGE_FULL, Desk, read_outcome


def failing(fault: BaseException) -> Any:
    def work(spec: Mapping[str, Any], desk: Desk) -> dict[str, Any]:
        raise fault

    return work


def ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException) -> tuple[int, dict[str, Any] | None]:
    monkeypatch.setitem(run.KINDS, "training", failing(fault))
    return run.work({"kind": "training"}, Desk(tmp_path, 1, None)), read_outcome(tmp_path)


NO_MEMORY = (MemoryError(), OSError(errno.ENOMEM, "Cannot allocate memory"),
             RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"))  # fmt: skip


@pytest.mark.parametrize("fault", NO_MEMORY)
def test_fault_13_no_memory_is_told_with_the_batch_size_to_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "plan.json").write_text(json.dumps({"plan": {"batch_size": 16}}))
    code, outcome = ended(tmp_path, monkeypatch, fault)
    assert code == 0 and outcome is not None
    assert (outcome["outcome"], outcome["code"], outcome["retryable"]) == ("failed", "out_of_memory", False)
    assert "batch_size=8" in outcome["remedy"]


def test_a_fault_of_ours_is_no_lack_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="shape"):
        ended(tmp_path, monkeypatch, RuntimeError("shape mismatch"))


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENOSPC, "storage_full"), *((n, "storage_broken") for n in (errno.EIO, errno.EROFS, errno.EMFILE))],
)
def test_fault_12_what_the_disk_refuses_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    exit_code, outcome = ended(tmp_path, monkeypatch, OSError(number, "refused"))
    assert exit_code == 0 and outcome is not None
    assert (outcome["postil"], outcome["retryable"]) == (code, True)


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, STORAGE_FULL), (errno.EIO, 1), (errno.EMFILE, 1)])
def test_fault_12_where_not_even_the_outcome_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    """Only a full disk is waited for; everything else counts as a lost attempt, of which there are not many."""

    def refused(*_: Any, **__: Any) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(Desk, "end", refused)
    exit_code, outcome = ended(tmp_path, monkeypatch, StoreError("storage_broken", detail="x"))
    assert (exit_code, outcome) == (code, None)
