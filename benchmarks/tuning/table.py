"""What stands in `measured/`, as a section of RESULTS.md: scores, forgetting and time of each setting on each task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean

from benchmarks import results
from benchmarks.tuning.measure import Measured, kept
from benchmarks.tuning.settings import SETTINGS
from benchmarks.tuning.tasks import MAKERS

SHOWN = "python -m benchmarks.tuning"


def body(measured: Sequence[Measured]) -> str:
    """Three tables; a column for each setting that was measured on any task, a line for each task, and the means over
    those tasks that all of these settings have."""
    names = [name for name in SETTINGS if any(one.setting == name for one in measured)]
    tasks = [name for name in MAKERS if any(one.task == name for one in measured)]
    seeds = max((len({one.seed for one in measured if one.task == task}) for task in tasks), default=0)
    about = (
        f"The embedded base; 200 new questions a task, at most {seeds} seed(s). *Score*: the task's own metric in "
        "percent. *Forgetting*: nats per token on texts by which nothing was chosen, and in brackets on the product's "
        "own guard. *Time*: CPU seconds of planning and training here, everything that the setting does included. `-`: "
        "not measured."
    )
    parts = [about]
    for title, figure, digits in FIGURES:
        lines = [[task, *(_mean(_of(measured, task, name), figure, digits) for name in names)] for task in tasks]
        common = [task for task in tasks if task != "null" and all(_of(measured, task, name) for name in names)]
        if len(common) > 1:
            means = (
                _shown([fmean(figure(one)[0] for one in _of(measured, task, name)) for task in common], digits)
                for name in names
            )
            lines.append([f"mean of {len(common)}", *means])
        parts.append(f"### {title}\n\n{results.table(['task', *names], lines)}")
    return "\n\n".join(parts)


def write() -> None:
    """Put the section on the page."""
    results.write("tuning", SHOWN, body(kept()))


Figure = Callable[[Measured], tuple[float, ...]]
FIGURES: Sequence[tuple[str, Figure, int]] = (
    ("Score", lambda one: (100 * one.score,), 1),
    ("Forgetting", lambda one: (one.second_forgetting, one.forgetting), 3),
    ("Time", lambda one: (one.cpu_seconds,), 0),
)


def _shown(values: Iterable[float], digits: int) -> str:
    return f"{fmean(values):.{digits}f}"


def _of(measured: Sequence[Measured], task: str, setting: str) -> list[Measured]:
    return [one for one in measured if (one.task, one.setting) == (task, setting)]


def _mean(measured: Sequence[Measured], figure: Figure, digits: int) -> str:
    """Over the seeds; a second figure stands in brackets."""
    if not measured:
        return "-"
    first, *rest = (fmean(column) for column in zip(*map(figure, measured), strict=True))
    return f"{first:.{digits}f}" + "".join(f" ({one:.{digits}f})" for one in rest)
