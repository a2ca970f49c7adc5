"""python -m benchmarks.tuning [--tasks NAME ...] [--settings NAME ...] [--seeds 42 43]: measure what is not kept yet.

Then the table is written anew; with --table, nothing else is done.
"""

from __future__ import annotations

import argparse

from benchmarks.tuning.measure import measured
from benchmarks.tuning.settings import SETTINGS
from benchmarks.tuning.table import write
from benchmarks.tuning.tasks import MAKERS, task_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", choices=list(MAKERS), default=list(MAKERS))
    parser.add_argument("--settings", nargs="+", default=["automatic", "TRL", "LLaMA-Factory"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[42])
    parser.add_argument("--table", action="store_true")
    wanted = parser.parse_args()
    for name in () if wanted.table else wanted.tasks:
        task = task_of(name)
        for setting in wanted.settings:
            for seed in wanted.seeds:
                print(measured(task, setting, SETTINGS[setting], seed), flush=True)
    write()


if __name__ == "__main__":
    main()
