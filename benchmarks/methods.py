"""Every way to tune, on the same titles and the same updates: what it trains, what it takes, what comes of it.

python -m benchmarks.methods METHOD DIRECTORY      one of them, in this process; prints a line of JSON
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from benchmarks import results
from benchmarks.side import ROOT
from postil.records import Event, Method
from postil.settings import for_child

WISHES = {"training_rows": "120", "validation_rows": "0", "test_rows": "30", "n_epochs": "2", "batch_size": "8",
          "r": "8", "learning_rate_probe": "no", "dtype": "float32", "threads": "1", "metric": "exact_match",
          "save_steps": "1000"}  # fmt: skip
QUICK = {**WISHES, "training_rows": "16", "test_rows": "4", "n_epochs": "1"}
HEADER = ("method", "trained parameters", "learning rate", "CPU s an epoch", "peak MB", "estimated MB",
          "exact, held out", "base", "forgetting, nats a token")  # fmt: skip


def run(rounds: int, quick: bool, command: str) -> None:
    """One after the other, each in a process of its own. The page is written anew after each."""
    found: list[Mapping[str, Any]] = []
    for method in get_args(Method):
        found.append(_measured(method, quick=quick))
        print(found[-1], flush=True)
        if not quick:
            results.write("methods", command, _text(found))
    if quick:
        results.write("methods", command, _text(found))


def _measured(method: str, *, quick: bool) -> Mapping[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.methods", method, str(Path(folder) / "run"), *["quick"] * quick],
            cwd=ROOT, env={**for_child(), "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
            encoding="utf-8",
        )  # fmt: skip
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        return {"method": method, "failed": (done.stderr.strip().splitlines() or ["?"])[-1]}
    told: dict[str, Any] = json.loads(lines[-1])
    return told


def _text(found: Sequence[Mapping[str, Any]]) -> str:
    failed = [f"{one['method']} did not run: {one['failed']}" for one in found if "failed" in one]
    rows = [_row(one) for one in found if "failed" not in one]
    left = len(get_args(Method)) - len(found)
    more = f" {left} methods were not measured." if left else ""
    return "\n\n".join([
        "The sample titles with the embedded model: 120 to learn from, 2 epochs, 8 rows an update, on one thread, at "
        "the learning rate that the plan gives each method; no validation, so that the last state counts. Rank 8; 64 "
        "wide; 20 virtual tokens; partial tuning trains the last two blocks. 30 other titles are answered greedily by "
        "base and tuned. Forgetting is the change of the loss on neutral texts." + more,
        results.table(HEADER, rows), *failed,
    ])  # fmt: skip


def _row(one: Mapping[str, Any]) -> Sequence[str]:
    return (one["method"], f"{one['parameters']:,}", f"{one['rate']:.1e}", f"{one['epoch']:.0f}",
            f"{one['peak'] / 1e6:.0f}", f"{one['estimated'] / 1e6:.0f}", f"{one['tuned']:.0%}", f"{one['base']:.0%}",
            f"{one['forgetting']:+.3f}")  # fmt: skip


def measure(method: str, output: Path, wishes: Mapping[str, str]) -> Mapping[str, Any]:
    """Plan, train and evaluate as `postil train` does."""
    from benchmarks.shapes import sample_titles
    from postil import flow

    base = flow.fetched(flow.find_base(flow.EMBEDDED))
    prepared = flow.plan(sample_titles(), base, settings={**wishes, "method": method}, measure=False)
    plan, marks = prepared.proposal.plan, list[tuple[int, float]]()

    def emit(event: Event) -> None:
        if event.type == "metrics":
            marks.append((event.data["step"], time.process_time()))

    flow.lay_out(prepared, output, force=False)
    result = flow.resume(output, emit)
    (first, start), (last, end) = marks[0], marks[-1]
    evaluation = json.loads((output / "evaluation.json").read_text("utf-8"))
    updates = -(-min(prepared.counts.n, plan.training_rows) // plan.batch_size)
    return {
        "method": method, "parameters": result["trained_parameters"], "rate": plan.learning_rate,
        "epoch": (end - start) / (last - first) * updates, "peak": result["peak_rss_bytes"],
        "estimated": prepared.proposal.estimate.memory_bytes, "tuned": evaluation["tuned"]["exact_match"],
        "base": evaluation["base"]["exact_match"], "forgetting": result["forgetting"],
    }  # fmt: skip


if __name__ == "__main__":
    from postil.settings import quiet

    quiet()
    print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]), QUICK if "quick" in sys.argv else WISHES)))
