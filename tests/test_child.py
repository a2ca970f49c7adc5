"""A child may compute for so long. A busy machine, on which it hardly gets to compute, does it no harm."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from postil import child
from postil.child import Limit, TookTooLong, Watch, communicate, run

SPIN = "while True: pass"
WAIT = "import time\nprint('here', flush=True)\ntime.sleep(600)"


def python(code: str, *more: str) -> list[str]:
    return [sys.executable, "-c", code, *more]


def test_what_a_command_says_is_what_it_said() -> None:
    code = "import sys; text = sys.stdin.read(); print(text.upper()); print('!', file=sys.stderr); sys.exit(3)"
    done = run(python(code), Limit(60), env=None, sent=b"a" * 300_000)
    assert (done.stdout.strip(), done.stderr.strip(), done.returncode) == (b"A" * 300_000, b"!", 3)


def test_whoever_computes_too_long_is_ended() -> None:
    with pytest.raises(TookTooLong) as raised:
        run(python(SPIN), Limit(0.3), env=None)
    assert raised.value.by == "cpu"


class Clock:
    """Hours go by at each look."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 4000
        return self.now


def test_hours_by_the_clock_do_no_harm_to_whoever_has_hardly_computed() -> None:
    process = subprocess.Popen(python(WAIT), stdout=subprocess.PIPE)
    try:
        clock = Clock()
        watch = Watch(process, Limit(3600), clock)
        watch.look()
        watch.look()
        assert watch.computed() < 3600
        with pytest.raises(TookTooLong) as raised:
            for _ in range(20):
                watch.look()
        assert raised.value.by == "wall"
        assert clock.now > 36_000
    finally:
        child.end(process)
        process.stdout.close()  # type: ignore[union-attr]


def test_what_a_child_has_started_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "CLOCK", 1)
    code = (
        f"import subprocess, sys\ninner = subprocess.Popen([sys.executable, '-c', {WAIT!r}], stdout=subprocess.PIPE)\n"
    )
    code += "inner.stdout.readline(); print(inner.pid, flush=True); inner.wait()"
    process = subprocess.Popen(python(code), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    inner = psutil.Process(int(process.stdout.readline()))
    with pytest.raises(TookTooLong):
        communicate(process, Limit(0.01))
    process.stdout.close()
    assert process.returncode is not None
    assert not inner.is_running() or inner.wait(30) is None


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")
def test_the_system_ends_whoever_nobody_looks_at() -> None:
    process = subprocess.Popen(python("import resource; print(resource.getrlimit(resource.RLIMIT_CPU))"),
                               stdout=subprocess.PIPE, stdin=subprocess.PIPE)  # fmt: skip
    Watch(process, Limit(20))
    assert process.stdout is not None
    soft = 20 + 1 + child.GRACE_SECONDS
    assert process.stdout.read().decode().strip() in (str((soft, soft + child.GRACE_SECONDS)), "(-1, -1)")
    process.stdin.close()  # type: ignore[union-attr]
    process.wait()
    process.stdout.close()
