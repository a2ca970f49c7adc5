"""python -m benchmarks.tuning [--tasks NAME ...] [--settings NAME ...] [--seeds 42 43 44]: measure what is not kept."""

from __future__ import annotations

import argparse

from benchmarks.tuning.measure import measured
from benchmarks.tuning.settings import SETTINGS
from benchmarks.tuning.tasks import MAKERS, task_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", choices=list(MAKERS), default=list(MAKERS))
    parser.add_argument("--settings", nargs="+", default=["automatic", "TRL", "LLaMA-Factory"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[42])
    wanted = parser.parse_args()
    for name in wanted.tasks:
        task = task_of(name)
        for setting in wanted.settings:
            for seed in wanted.seeds:
                print(measured(task, setting, SETTINGS[setting], seed), flush=True)


if __name__ == "__main__":
    main()
