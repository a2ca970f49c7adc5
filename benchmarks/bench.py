"""Measure Postil beside others: python benchmarks/bench.py [SECTION ...] [--rounds N] [--quick].

Each section goes to RESULTS.md in place of the last one; those of --quick are only printed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])  # `benchmarks` as a package, from wherever it is called

from postil.settings import quiet  # noqa: E402

quiet()  # before torch is loaded

from benchmarks import (  # noqa: E402
    against,
    evaluation,
    gradients,
    methods,
    parity,
    sooner,
    speed,
    startup,
    tasks,
    tuning,
)  # fmt: skip

Section = Callable[[int, bool, str], None]  # rounds, quick, command
SECTIONS: dict[str, tuple[Section, int]] = {  # and how many rounds
    "titles": (speed.of("titles", speed.ALL), 5),
    "qa": (speed.of("qa", speed.ALL), 5),
    "chat": (speed.of("chat", speed.ALL), 5),
    "qwen": (speed.of("qwen", ["script (b)", "TRL unpadded", "Postil plain", "Postil shared"]), 3),
    "memory": (speed.memory, 2),
    "gradients": (gradients.run, 1),
    "evaluate": (evaluation.run, 1),
    "parity": (parity.run, 50),
    "tasks": (tasks.run, 1),
    "startup": (startup.run, 7),
    "script": (sooner.run_and_record, 1),
    "sooner": (sooner.run, 1),
    "methods": (methods.run, 1),
    "against": (against.run, 1),
    "tuning": (tuning.run, 3),  # seeds
}
LONG = ("script", "methods", "against", "tuning")  # an hour and more: only when asked for


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    known = f"{', '.join(SECTIONS)}; all but {', '.join(LONG)}"
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=known)
    parser.add_argument("--rounds", type=int, help="how often everything is measured in turn")
    parser.add_argument("--quick", action="store_true", help="as few rounds and rows as show that it works")
    given = parser.parse_args()
    unknown = [name for name in given.sections if name not in SECTIONS]
    if unknown:
        parser.error(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    for name in given.sections or [name for name in SECTIONS if name not in LONG]:
        section, usual = SECTIONS[name]
        rounds = given.rounds or (1 if given.quick else usual)
        options = f" --rounds {given.rounds}" * bool(given.rounds) + " --quick" * given.quick
        section(rounds, given.quick, f"python benchmarks/bench.py {name}{options}")


if __name__ == "__main__":
    main()
