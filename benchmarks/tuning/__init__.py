"""Rules of the automatic plan, measured on small tasks that nobody tuned a rule to."""

from __future__ import annotations

FIRST_SEED = 42


def run(rounds: int, quick: bool, command: str) -> None:
    """Measure what is not kept of the automatic plan and of others' defaults, with so many seeds; then the table."""
    from benchmarks.tuning.measure import measured
    from benchmarks.tuning.settings import SETTINGS
    from benchmarks.tuning.table import write
    from benchmarks.tuning.tasks import MAKERS, task_of

    for name in ["labels"] if quick else MAKERS:
        for setting in ("automatic", "TRL", "LLaMA-Factory"):
            for seed in range(FIRST_SEED, FIRST_SEED + rounds):
                measured(task_of(name), setting, SETTINGS[setting], seed)
    write()
