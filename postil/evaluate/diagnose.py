"""The run doctor: rules that look at a run and name what is wrong with it, each with the settings that would mend it.

Settings mean a training anew. Where something cheaper helps, its sentence says that, and the finding has none.

It stands in this room because it judges, like the verdict and the guard against forgetting, and because the report
tells what it finds. A rule is a function of a `Case`; it yields what it finds. Bounds stand beside their rules; they
are set so that ordinary runs of the samples are told nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from statistics import fmean
from typing import Any

from postil.evaluate.case import Case
from postil.evaluate.metrics import visible
from postil.evaluate.tasks import of_task
from postil.evaluate.verdict import FEWEST_ROWS, forgets
from postil.records import Finding, Plan

ORDER = ("error", "warning", "advice")
FEW, ENOUGH = 30, 100  # training examples: below the first little can be expected, below the second more helps much
FEWEST_UPDATES = 10
SAME_LOSS = 1e-6  # nats per token: two runs of one model differ by less
MOSTLY_RIGHT = 0.5  # of the validation part: it does know more than its rows
SOME_ROWS = 5  # of answers, before anything is said of all of them


def diagnose(case: Case) -> list[Finding]:
    """What is wrong, the worst first; empty when nothing is. Never a word twice: a cause that is known goes before
    what it explains."""
    found: list[Finding] = []
    for rule in RULES:
        found += rule(case)
    codes = {finding.code for finding in found}
    if codes & CAUSES:
        found = [finding for finding in found if finding.code not in EFFECTS]
        found = [replace(finding, settings={}) if finding.code == "worse" else finding for finding in found]
    if any(finding.severity != "advice" for finding in found):
        found = [finding for finding in found if finding.code != "still_improving"]  # first things first
    found = [_without_echo(finding, case.plan) for finding in found]
    return sorted(found, key=lambda finding: ORDER.index(finding.severity))


# ── it did not get far ──


def ended_badly(case: Case) -> Iterator[Finding]:
    """The error that ended it."""
    if case.error is None:
        return
    code, values = case.error
    if code == "out_of_memory":
        tight: dict[str, Any] = {"gradient_checkpointing": True, "micro_batch_tokens": 64}
        if case.plan.gradient_checkpointing:
            tight["target_modules"] = "mlp-only"
        yield Finding("out_of_memory", "error", {}, tight)
    elif code == "too_few_examples":
        yield Finding("too_few_rows", "error", {"n": values.get("count", case.parts[0]), "enough": ENOUGH})
    elif code == "labels_wrong":
        yield Finding("labels_wrong", "error", {"n": values.get("n", 0)})


def not_finite(case: Case) -> Iterator[Finding]:
    """A loss that was no number, or the error that says so."""
    broken = [int(line["step"]) for line in case.history if line.get("loss") is None]
    diverged = case.error is not None and case.error[0] == "diverged"
    if broken or diverged or "not_finite" in case.told:
        step = broken[0] if broken else case.error[1].get("step", 0) if case.error else 0
        wider = {"dtype": "float32"} if case.plan.dtype == "float16" else {}
        yield Finding("not_finite", "error", {"step": step}, {**_rate(case, 1 / 3), **wider})


def no_updates(case: Case) -> Iterator[Finding]:
    """The training ended before it did anything, or almost."""
    updates = (case.result or {}).get("updates")
    if updates is None or updates >= FEWEST_UPDATES:
        return
    smaller = max(1, min(case.plan.batch_size, case.parts[0] // 4))
    settings = {"batch_size": smaller, "n_epochs": max(3, min(200, 2 * case.plan.n_epochs))}
    if updates == 0:
        yield Finding("no_updates", "error", {}, settings)
    else:
        yield Finding("few_updates", "warning", {"updates": updates}, settings)


def memory_tight(case: Case) -> Iterator[Finding]:
    """It took nine tenths of the memory or more: the next longer row may end it. This training is done, and the same
    again in smaller portions would end in the same model: there is nothing to train anew."""
    peak = (case.result or {}).get("peak_rss_bytes")
    if peak and case.memory and peak > 0.9 * case.memory:
        share = {"peak": round(peak / 1e9, 1), "memory": round(case.memory / 1e9, 1)}
        yield Finding("memory_tight", "warning", share)


# ── how it learned ──


def learning_rate_too_high(case: Case) -> Iterator[Finding]:
    """The training loss rose, or the validation loss did from the beginning while the training loss hardly fell."""
    trend, shown = case.trend, case.validations
    rising = trend is not None and trend > 1.1
    away = len(shown) >= 2 and case.best == shown[0] and shown[-1][1] > 1.05 * shown[0][1]
    if rising or (away and (trend is None or trend > 0.9)):
        yield Finding("learning_rate_too_high", "error", {"rate": case.rate}, _rate(case, 1 / 3))


def learning_rate_too_low(case: Case) -> Iterator[Finding]:
    """Nothing moves: the training loss fell by less than 3 %, the validation loss by less than 2 %."""
    trend, shown = case.trend, case.validations
    still = len(shown) < 2 or 0.98 < shown[-1][1] / max(shown[0][1], 1e-9) <= 1.02
    if trend is not None and 0.97 < trend <= 1.03 and still and case.losses[0][1] > 0.05:
        settings = _rate(case, 3.0) if case.rate < 0.01 else {"n_epochs": min(200, 2 * case.plan.n_epochs)}
        yield Finding("learning_rate_too_low", "warning", {"rate": case.rate}, settings)


def overfitting(case: Case) -> Iterator[Finding]:
    """Since the best update the training loss fell on by a tenth while the validation loss rose by 5 % or more, and no
    more is right for it: loss grows with confidence, also while more and more answers are right."""
    shown, best, rights = case.validations, case.best, case.rights
    if best is None or len(shown) < 3 or (rights and rights[-1][1] >= max(right for _, right in rights) > 0):
        return
    last = shown[-1][1]
    then, now = _near(case, best[0]), _near(case, shown[-1][0])
    if last >= max(1.05 * best[1], best[1] + 0.03) and then is not None and now is not None and now < 0.9 * then:
        epochs = case.epochs_of_best or 0.0
        settings: dict[str, Any] = {"n_epochs": max(1, min(case.plan.n_epochs, math.ceil(epochs)))}
        if case.plan.r > 4:
            settings |= {"r": case.plan.r // 2, "lora_alpha": case.plan.lora_alpha / 2}
        yield Finding(
            "overfitting", "warning", {"best": round(best[1], 3), "last": round(last, 3), "step": best[0]}, settings
        )


def memorised(case: Case) -> Iterator[Finding]:
    """The training rows are known by heart, and the others are not."""
    best, rights = case.best, case.rights
    ends = [loss for _, loss in case.losses[-5:]]
    known = rights and rights[-1][1] >= MOSTLY_RIGHT
    if best and ends and not known and fmean(ends) < 0.02 and best[1] > 0.5:
        yield Finding(
            "memorised",
            "warning",
            {"training": round(fmean(ends), 3), "validation": round(best[1], 3)},
            {"n_epochs": max(1, case.plan.n_epochs // 2), "r": max(1, case.plan.r // 2)},
        )


def still_improving(case: Case) -> Iterator[Finding]:
    """The last look at the validation part was the best by 2 % or more, and nothing but the plan ended the run."""
    shown = case.validations
    if case.result is None or len(shown) < 3 or case.best != shown[-1]:
        return
    if shown[-1][1] < 0.98 * shown[-2][1] and case.plan.n_epochs < 200:
        more = min(200, math.ceil(1.5 * case.plan.n_epochs))
        yield Finding("still_improving", "advice", {"epochs": case.plan.n_epochs}, {"n_epochs": more})


def nothing_learned(case: Case) -> Iterator[Finding]:
    """The validation loss of the result is not even 1 % below that of the base."""
    loss, best = case.base_loss, case.best
    if case.result is None or not case.result.get("updates") or loss is None or best is None:
        return
    if best[1] > 0.99 * loss and loss > 0.05:
        yield Finding(
            "nothing_learned",
            "error",
            {"base": round(loss, 3), "tuned": round(best[1], 3)},
            {**_rate(case, 3.0), "n_epochs": min(200, 2 * case.plan.n_epochs)},
        )


def known_already(case: Case) -> Iterator[Finding]:
    """The base needed no training for this."""
    if case.base_loss is not None and case.base_loss <= 0.05:
        yield Finding("known_already", "advice", {"loss": round(case.base_loss, 3)})


# ── what it answers ──


def adapter_not_applied(case: Case) -> Iterator[Finding]:
    """Base and tuned answer every question in the same words."""
    rows = case.evaluation.rows if case.evaluation else ()
    if len(rows) < SOME_ROWS or any(row["base"] != row["tuned"] for row in rows):
        return
    base, tuned = (scores.get("loss") for scores in (case.evaluation.base, case.evaluation.tuned))  # type: ignore[union-attr]
    if base is not None and tuned is not None and abs(base - tuned) < SAME_LOSS:
        yield Finding("adapter_not_applied", "error", {"n": len(rows)}, {"target_modules": "all-linear"})
    else:
        yield Finding(
            "answers_unchanged",
            "warning",
            {"n": len(rows)},
            {**_rate(case, 2.0), "n_epochs": min(200, 2 * case.plan.n_epochs)},
        )


def answers_cut(case: Case) -> Iterator[Finding]:
    """More than a tenth of the answers did not end by themselves: they are too long for the limit, or never end."""
    stopped = case.evaluation.tuned.get("stopped") if case.evaluation else None
    if case.evaluation is None or stopped is None or stopped >= 0.9 or not case.evaluation.rows:
        return
    if not of_task(case.plan.task).ends:
        return
    wanted = fmean(len(visible(str(row["reference"]))) for row in case.evaluation.rows)
    said = fmean(len(str(row["tuned"])) for row in case.evaluation.rows)
    share = round(100 * (1 - stopped))
    if said > 2 * wanted + 20:
        yield Finding(
            "never_stops",
            "error",
            {"share": share, "said": round(said), "wanted": round(wanted)},
            {"n_epochs": min(200, 2 * case.plan.n_epochs)},
        )
    else:
        more = min(32_768, 2 * case.plan.max_new_tokens)
        yield Finding("answers_cut", "warning", {"share": share, "limit": case.plan.max_new_tokens, "more": more})


def one_answer(case: Case) -> Iterator[Finding]:
    """Whatever is asked, the tuned model says the same."""
    rows = case.evaluation.rows if case.evaluation else ()
    base, said, wanted = ({str(row[name]).strip() for row in rows} for name in ("base", "tuned", "reference"))
    if len(rows) >= SOME_ROWS and len(said) == 1 and len(wanted) >= 3 and said not in (base, {""}):
        yield Finding("one_answer", "error", {"n": len(rows), "answer": said.pop()[:60]}, _rate(case, 1 / 3))


def empty_answers(case: Case) -> Iterator[Finding]:
    """A fifth of the answers or more have no words."""
    rows = case.evaluation.rows if case.evaluation else ()
    empty = sum(not visible(str(row["tuned"])).strip() for row in rows)
    if rows and empty >= max(2, 0.2 * len(rows)):
        settings = {"thinking": False} if case.plan.thinking else _rate(case, 1 / 3)
        yield Finding("empty_answers", "error", {"empty": empty, "n": len(rows)}, settings)


def worse(case: Case) -> Iterator[Finding]:
    """The verdict is against it."""
    if case.evaluation and case.evaluation.verdict.outcome == "worse":
        yield Finding("worse", "error", {"n": case.evaluation.verdict.n}, _rate(case, 1 / 3))


def forgetting(case: Case) -> Iterator[Finding]:
    """General language has suffered."""
    change = case.evaluation.forgetting if case.evaluation else (case.result or {}).get("forgetting")
    if change is not None and forgets(change):
        free = case.plan.task == "causal_lm" and not case.plan.kl_weight
        settings: dict[str, Any] = {"kl_weight": 1.0} if free else _rate(case, 1 / 3)
        if case.plan.target_modules == "all-linear" and change > 0.5:
            settings["target_modules"] = "mlp-only"
        yield Finding("forgetting", "warning", {"change": round(float(change), 3)}, settings)


# ── what it was given ──


def rows(case: Case) -> Iterator[Finding]:
    """Too few rows to learn from, to choose by, or to judge by."""
    training, validation, test = case.parts
    if 0 < training < ENOUGH:
        yield Finding("too_few_rows", "warning" if training < FEW else "advice", {"n": training, "enough": ENOUGH})
    if training and not validation:
        yield Finding("no_validation", "warning", {}, {"validation_rows": max(5, training // 10)})
    if training >= ENOUGH and test < FEWEST_ROWS:
        yield Finding("test_too_small", "advice", {"n": test, "least": FEWEST_ROWS})


def validation_is_training(case: Case) -> Iterator[Finding]:
    """Both files are the same."""
    if "validation_is_training" in case.told:
        yield Finding("validation_is_training", "warning")


RULES: tuple[Callable[[Case], Iterator[Finding]], ...] = (
    ended_badly,
    not_finite,
    no_updates,
    memory_tight,
    learning_rate_too_high,
    learning_rate_too_low,
    overfitting,
    memorised,
    nothing_learned,
    adapter_not_applied,
    one_answer,
    empty_answers,
    answers_cut,
    worse,
    forgetting,
    still_improving,
    known_already,
    rows,
    validation_is_training,
)
CAUSES = {
    "not_finite",
    "no_updates",
    "learning_rate_too_high",
    "learning_rate_too_low",
    "adapter_not_applied",
    "one_answer",
    "never_stops",
    "overfitting",
}
EFFECTS = {"nothing_learned", "answers_unchanged", "memorised"}


def _rate(case: Case, factor: float) -> dict[str, Any]:
    """Another learning rate, which no probe may move back."""
    return {"learning_rate": float(f"{min(1.0, factor * case.rate):.2g}"), "learning_rate_probe": False}


def _near(case: Case, step: int) -> float | None:
    """The mean training loss of the updates about this one: a tenth of the run to each side."""
    losses = case.losses
    if not losses:
        return None
    reach = max(1, (losses[-1][0] - losses[0][0]) // 10)
    about = [loss for at, loss in losses if abs(at - step) <= reach]
    return fmean(about) if about else None


def _without_echo(finding: Finding, plan: Plan) -> Finding:
    """Without settings that the plan has already."""
    now: Mapping[str, Any] = plan.model_dump()
    changed = {name: value for name, value in finding.settings.items() if now[name] != value}
    return replace(finding, settings=changed)
