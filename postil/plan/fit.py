"""What fits into the minutes that a job may take: by the measured speed, fewer questions, epochs and rows than planned.

Nothing that the user has decided is changed. What is left out stands in the reasons of the plan.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from postil.records import Issue, Plan

PARTS = ("validation_rows", "test_rows")
AIM = 0.9  # of the time; what an estimate is short of has to fit in, too
PROBE_SHARE = 0.15  # of the time, for trying learning rates and for measuring
FEWEST_TEST = 20  # questions; fewer allow no verdict
FEWEST_VALIDATION = 10
FEWEST_UPDATES = 16


@dataclass(frozen=True, slots=True)
class Change:
    """A value of the plan, and what it would be without a limit of time."""

    before: int
    after: int


Changes = Mapping[str, Change]
Seconds = Callable[[Plan], float]  # the middle of what a plan is estimated to take


def fit(plan: Plan, n: int, left: float, seconds: Seconds, fixed: Sequence[str] = ()) -> dict[str, Change]:
    """The values of a plan for `n` training rows that must change for it to end within `left` seconds.

    Empty when all fits. Where nothing fits, the smallest plan that is worth it. fixed: fields that must stay.
    """
    if not plan.minutes:
        return {}
    now = {"learning_rate_probe": int(plan.learning_rate_probe), "training_rows": min(plan.training_rows, n) or n,
           **{name: getattr(plan, name) for name in ("n_epochs", *PARTS)}}  # fmt: skip
    steps = (step for step in _steps(now, plan, seconds, left) if not set(step) & set(fixed))
    smaller: dict[str, int] = {}
    if now["learning_rate_probe"] and "learning_rate_probe" not in fixed:
        smaller |= _without_probe(plan, seconds, left)
    for step in steps:
        if seconds(plan.model_copy(update=smaller)) <= AIM * left:
            break
        smaller |= step
    return {name: Change(now[name], after) for name, after in smaller.items() if after != now[name]}


def _without_probe(plan: Plan, seconds: Seconds, left: float) -> dict[str, int]:
    """Learning rates are not tried where that would take more than its share of the time."""
    cost = seconds(plan) - seconds(plan.model_copy(update={"learning_rate_probe": False}))
    return {"learning_rate_probe": False} if cost > PROBE_SHARE * left else {}


def _steps(now: Mapping[str, int], plan: Plan, seconds: Seconds, left: float) -> Iterator[dict[str, int]]:
    """Ever smaller, one after the other: the proof first, since a verdict needs few questions; then epochs, since other
    rows teach more than the same ones again; then rows."""
    for share in (2, 4):
        for name, fewest in zip(PARTS, (FEWEST_VALIDATION, FEWEST_TEST), strict=True):
            yield {name: min(now[name], max(fewest, now[name] // share))}
    for epochs in range(now["n_epochs"] - 1, 0, -1):
        yield {"n_epochs": epochs}
    fewest = min(now["training_rows"], FEWEST_UPDATES * plan.batch_size)
    for rows in range(now["training_rows"] - plan.batch_size, fewest - plan.batch_size, -plan.batch_size):
        yield {"training_rows": max(rows, fewest)}


def issues_of(changes: Changes, plan: Plan, estimated: float, left: float, load: float, cores: int) -> list[Issue]:
    """As advice: what a plan leaves out to end in time; as a warning: where even that will not do. Times in seconds.

    plan: the one with the changes in it.
    """
    issues: list[Issue] = []
    if changes:
        sizes = {name: f"{change.after}/{change.before}" for name, change in changes.items()}
        issues.append(Issue("left_out_for_time", "advice", values={
            "minutes": f"{plan.minutes:g}", "epochs": sizes.get("n_epochs", plan.n_epochs),
            "rows": sizes.get("training_rows", plan.training_rows or "-"),
            "test": sizes.get("test_rows", plan.test_rows),
        }))  # fmt: skip
    if plan.minutes and estimated > left:
        issues.append(Issue("minutes_too_few", "warning", values={
            "minutes": f"{plan.minutes:g}", "needed": math.ceil(estimated / 60), "load": f"{load:.1f}", "cores": cores,
        }))  # fmt: skip
    return issues
