"""No command that a person gives is cut short by a timer; CI sets its own, which `make` heeds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TIMED = ("quickstart", "test", "test-slow", "test-faults")
CI_SECONDS = 90 * 60

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def commands(target: str, *variables: str) -> str:
    """What `make` would do for `target`, with nothing to install."""
    ready = ("-o", ".venv/installed", "-o", ".venv/ready")
    ours = {
        name: value for name, value in os.environ.items() if name not in ("LIMIT_SECONDS", "MAKEFLAGS", "MAKELEVEL")
    }
    done = subprocess.run(
        ["make", "-n", *ready, target, *variables], cwd=ROOT, capture_output=True, text=True, check=True, env=ours
    )
    return done.stdout


@pytest.mark.parametrize("target", TIMED)
def test_nothing_is_cut_short_unless_ci_asks_for_it(target: str) -> None:
    assert "timeout 7 " not in commands(target) and not re.search(r"^timeout |\btimeout \d", commands(target), re.M)
    assert "timeout 7 " in commands(target, "LIMIT_SECONDS=7")


def test_the_timers_of_ci_fit_into_its_time() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    limits = dict(re.findall(r"^LIMIT_SECONDS=(\d+) make (\S+)", script, re.M))
    assert set(limits.values()) == {"test", "quickstart", "test-slow"}
    assert sum(map(int, limits)) <= CI_SECONDS
