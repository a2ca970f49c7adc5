"""The machine is measured in a child process; where that cannot be done, why is known."""

from __future__ import annotations

import subprocess
import sys

import pytest

from postil.model import probe
from postil.model.probe import Unmeasured, _asked, _failure, _Patience

ANSWER = 'print(\'{"device": "cpu", "dtype": "float32", "threads": 1, "gemm_flops": 1.0}\')'


def child(program: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_last_line_of_what_it_says_is_the_answer() -> None:
    with child(f"import sys; print('a warning'); sys.stdin.read(); {ANSWER}") as process:
        assert _asked(process, None, (), 0.0).threads == 1


@pytest.mark.parametrize(("program", "cause"), [
    ("raise MemoryError", "memory"), ("raise RuntimeError('DefaultCPUAllocator: not enough memory')", "memory"),
    ("raise RuntimeError('no such layer')", "failed"), ("import sys; sys.exit(3)", "failed"),
])  # fmt: skip
def test_why_a_child_failed_is_known(program: str, cause: str) -> None:
    with child(program) as process, pytest.raises(Unmeasured) as failed:
        _asked(process, None, (), 0.0)
    assert failed.value.cause == cause


def test_a_child_that_takes_too_long_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "TIMEOUT_SECONDS", 0.01)
    with child("import sys; sys.stdin.read(); sys.stdin.close(); import time; time.sleep(600)") as process:
        with pytest.raises(Unmeasured) as failed:
            _asked(process, None, (), 0.0)
        process.kill()
    assert failed.value.cause == "slow"


def test_a_child_that_the_system_killed_had_no_memory() -> None:
    assert _failure(-9, "").cause == "memory"
    assert _failure(1, "Traceback\nValueError: what it was\n\n").detail == "ValueError: what it was"


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(probe.time, "monotonic", lambda: now[0])
    patience, endless = _Patience(10.0), _Patience(0.0)
    assert patience.allows(9.0) and not patience.allows(11.0) and endless.allows(1e9)
    now[0] = 110.5
    assert not patience.allows() and endless.allows()
