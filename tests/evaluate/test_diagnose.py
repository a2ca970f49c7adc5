"""The doctor names what is wrong with runs that were made to go wrong, and leaves healthy ones alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from postil.errors import TrainError
from postil.evaluate import Case, diagnose, read_case
from postil.evaluate.diagnose import CAUSES, EFFECTS
from postil.records import Evaluation, Plan, Verdict
from tests.models import titles

if TYPE_CHECKING:
    from tests.models import Build

PLAN = Plan(n_epochs=3, batch_size=8, learning_rate=1e-3, r=8, lora_alpha=16)
WORDS = ("连衣裙", "保温杯", "手机壳", "雪纺长裙", "茶杯", "女鞋")


def history(
    training: Callable[[int], float | None], validation: Callable[[int], float], steps: int = 75
) -> list[dict[str, Any]]:
    """A line for each update, a validation loss on every tenth and the last one."""
    lines: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        line: dict[str, Any] = {"step": step, "epoch": step / 25, "learning_rate": 1e-3}
        loss = training(step)
        if loss is not None:
            line["loss"] = loss
        if step % 10 == 0 or step == steps:
            line["validation_loss"] = validation(step)
        lines.append(line)
    return lines


def evaluation(
    tuned: Callable[[int], str] = lambda i: WORDS[i % 6], base: Callable[[int], str] = lambda i: "不知道",
    outcome: Any = "better", forgetting: float = 0.01, **scores: float,
) -> Evaluation:  # fmt: skip
    rows = tuple({"question": f"{i}", "reference": WORDS[i % 6], "base": base(i), "tuned": tuned(i)} for i in range(24))
    return Evaluation({"loss": 3.0, "stopped": 0.5}, {"loss": 0.5, "stopped": 1.0, **scores},
                      Verdict(outcome, "char_f1", 0.5, (0.2, 0.7), 24, 0.01), forgetting, rows)  # fmt: skip


def falling(low: float, high: float = 3.0, speed: float = 15.0) -> Callable[[int], float]:
    return lambda step: low + (high - low) * math.exp(-step / speed)


def healthy(**changes: Any) -> Case:
    result = {"updates": 75, "best_update": 60, "learning_rate": 1e-3, "peak_rss_bytes": 2 * 10**9,
              "validation_loss": {"base": 3.1, "tuned": 0.62}, "forgetting": 0.01}  # fmt: skip
    given: dict[str, Any] = {
        "plan": PLAN, "parts": (200, 20, 24), "history": history(falling(0.5), falling(0.6)), "result": result,
        "evaluation": evaluation(), "memory": 8 * 10**9,
    }  # fmt: skip
    return Case(**{**given, **changes})


def ended(**values: Any) -> Mapping[str, Any]:
    return {**(healthy().result or {}), **values}


def losses(training: Callable[[int], float | None], validation: Callable[[int], float], base: float = 3.1) -> Case:
    told = history(training, validation)
    best = min(base, *(line["validation_loss"] for line in told if "validation_loss" in line))
    return healthy(history=told, result=ended(validation_loss={"base": base, "tuned": best}))


SICK: list[tuple[str, str, Case]] = [
    ("a loss that was no number", "not_finite",
     healthy(history=history(lambda s: None if s == 7 else 2.0, falling(1)), result=None, evaluation=None)),
    ("it ended because the loss was no number", "not_finite",
     healthy(error=("diverged", {"step": 12}), result=None, history=[], evaluation=None)),
    ("its events say that a loss was no number", "not_finite", healthy(told=["not_finite"])),
    ("out of memory", "out_of_memory", healthy(error=("out_of_memory", {}), result=None, history=[], evaluation=None)),
    ("out of memory although it saves already", "out_of_memory",
     healthy(plan=PLAN.model_copy(update={"gradient_checkpointing": True}), error=("out_of_memory", {}), result=None)),
    ("wrong labels", "labels_wrong", healthy(error=("labels_wrong", {"n": 4}), result=None, history=[])),
    ("refused for too few rows", "too_few_rows", healthy(error=("too_few_examples", {"count": 3}), result=None)),
    ("not one update", "no_updates", healthy(result=ended(updates=0), history=[], evaluation=None)),
    ("six updates", "few_updates", healthy(result=ended(updates=6), history=history(falling(1), falling(1), 6))),
    ("memory almost full", "memory_tight", healthy(result=ended(peak_rss_bytes=7.6e9))),
    ("the training loss rises", "learning_rate_too_high", losses(lambda s: 2 + s / 50, falling(2.5))),
    ("the validation loss rises at once, nothing is learned", "learning_rate_too_high",
     losses(lambda s: 3.0 + 0.1 * (s % 3), lambda s: 3.1 + s / 20)),
    ("a live run that runs away", "learning_rate_too_high",
     healthy(history=history(lambda s: 2 * 1.03**s, lambda s: 3.0 + s / 9, 30), result=None, evaluation=None)),
    ("the loss does not move", "learning_rate_too_low",
     losses(lambda s: 3.0 - s / 5000 + 0.01 * (s % 2), lambda s: 3.1 - s / 9000)),
    ("a live run that does not move", "learning_rate_too_low",
     healthy(history=history(lambda s: 2.5, lambda s: 2.6, 25), result=None, evaluation=None)),
    ("known by heart from the middle on", "overfitting",
     losses(falling(0.01), lambda s: 0.9 + 2 * math.exp(-s / 5) + max(0, s - 20) / 60)),
    ("known by heart from the start", "overfitting", losses(falling(0.01, speed=6), lambda s: 3.1 + s / 40)),
    ("known by heart, validation stays", "memorised", losses(falling(0.004, speed=5), falling(0.9, speed=4))),
    ("nothing gained", "nothing_learned", losses(falling(2.5), lambda s: 3.09)),
    ("known before", "known_already",
     healthy(history=history(falling(0.01, 0.04), falling(0.01, 0.04)),
             result=ended(validation_loss={"base": 0.04, "tuned": 0.02}))),
    ("the adapter has no effect", "adapter_not_applied",
     healthy(evaluation=evaluation(lambda i: "不知道", loss=3.0, outcome="no_difference"))),
    ("the answers are those of the base", "answers_unchanged",
     healthy(evaluation=evaluation(lambda i: "不" * (i % 3), lambda i: "不" * (i % 3), "no_difference", loss=2.9))),
    ("always the same answer", "one_answer", healthy(evaluation=evaluation(lambda i: "连衣裙"))),
    ("answers without words", "empty_answers",
     healthy(evaluation=evaluation(lambda i: "" if i % 3 == 0 else WORDS[i % 6]))),
    ("only thoughts", "empty_answers",
     healthy(plan=PLAN.model_copy(update={"thinking": True}), evaluation=evaluation(lambda i: "<think>\n嗯</think>"))),
    ("answers that are cut", "answers_cut", healthy(evaluation=evaluation(stopped=0.6))),
    ("answers without an end", "never_stops",
     healthy(evaluation=evaluation(lambda i: f"{WORDS[i % 6]}，" * 30, stopped=0.2))),
    ("worse than the base", "worse", healthy(evaluation=evaluation(outcome="worse"))),
    ("general language has suffered", "forgetting", healthy(evaluation=evaluation(forgetting=0.4))),
    ("it has suffered beyond number", "forgetting", healthy(evaluation=evaluation(forgetting=math.nan))),
    ("it was still getting better", "still_improving",
     losses(lambda s: 3.0 - s / 50, lambda s: 3.1 - s / 45)),
    ("thirty rows", "too_few_rows", healthy(parts=(29, 5, 24))),
    ("nothing to validate on", "no_validation", healthy(parts=(200, 0, 24))),
    ("seven test questions", "test_too_small", healthy(parts=(200, 20, 7))),
    ("validated on what was learned", "validation_is_training", healthy(told=["validation_is_training"])),
]  # fmt: skip


@pytest.mark.parametrize(("code", "case"), [one[1:] for one in SICK], ids=[one[0] for one in SICK])
def test_the_right_thing_is_found_first(code: str, case: Case) -> None:
    found = diagnose(case)
    assert code in [finding.code for finding in found], [finding.code for finding in found]
    worst = [finding.code for finding in found if finding.severity == "error"]
    if worst and code not in ("no_validation", "too_few_rows", "test_too_small"):
        assert worst[0] == code or code not in CAUSES, worst


def test_at_least_nine_in_ten_failures_are_named_alone() -> None:
    """Nothing else is said of the run, but advice on its rows."""
    alone = [name for name, code, case in SICK if {finding.code for finding in diagnose(case)} == {code}]
    assert len(SICK) >= 30
    assert len(alone) >= 0.9 * len(SICK), [
        (name, [f.code for f in diagnose(case)]) for name, code, case in SICK if name not in alone
    ]


@pytest.mark.parametrize("case", [
    healthy(), healthy(result=None, evaluation=None), healthy(evaluation=None), healthy(history=[], result=None),
    losses(falling(0.3), falling(0.5)), losses(lambda s: falling(0.4)(s) * (1 + 0.3 * (s % 2)), falling(0.5)),
    healthy(evaluation=evaluation(outcome="no_difference")), healthy(evaluation=evaluation(stopped=0.92)),
    losses(falling(0.2), lambda s: falling(0.5)(s) + max(0, s - 60) / 2000),  # a little above its best: not yet
])  # fmt: skip
def test_a_healthy_run_is_told_nothing(case: Case) -> None:
    assert diagnose(case) == []


@pytest.mark.parametrize("case", [one[2] for one in SICK], ids=[one[0] for one in SICK])
def test_every_fix_is_a_plan_that_differs_from_the_old_one(case: Case) -> None:
    for finding in diagnose(case):
        mended = Plan.model_validate({**case.plan.model_dump(), **finding.settings})
        assert (mended != case.plan) == bool(finding.settings)
        for lang in ("zh", "en"):
            assert finding.message(lang) and finding.fix(lang)
        assert set(finding.as_json()) == {"code", "severity", "message", "fix", "settings", "values"}


ONLY_ANSWERS = {"max_new_tokens", "temperature", "top_p"}  # of the plan: what changes no weight of the adapter


@pytest.mark.parametrize("case", [one[2] for one in SICK], ids=[one[0] for one in SICK])
def test_no_training_is_offered_where_something_that_costs_nothing_helps(case: Case) -> None:
    """A run that has ended is only trained anew for another adapter: not for longer answers, a larger test, or to take
    less memory the next time."""
    for finding in diagnose(case):
        assert not finding.settings or set(finding.settings) - ONLY_ANSWERS, finding
        if finding.code in ("answers_cut", "memory_tight", "test_too_small", "known_already", "validation_is_training"):
            assert not finding.settings, finding


def test_cut_answers_are_told_how_long_they_may_be() -> None:
    found = diagnose(healthy(evaluation=evaluation(stopped=0.6)))
    assert [finding.code for finding in found] == ["answers_cut"]
    for lang in ("en", "zh"):
        assert str(2 * PLAN.max_new_tokens) in found[0].fix(lang)


def test_a_cause_goes_before_what_it_explains() -> None:
    case = losses(lambda s: 3.0 - s / 5000, lambda s: 3.1)
    case = replace(case, evaluation=evaluation(lambda i: "不知道", loss=2.99, outcome="worse"))
    found = {finding.code: finding for finding in diagnose(case)}
    assert "learning_rate_too_low" in found and not found.keys() & EFFECTS
    assert found["worse"].settings == {}, "one click must not say the contrary of another"
    assert found["learning_rate_too_low"].settings == {"learning_rate": 0.003, "learning_rate_probe": False}


def test_a_rate_stays_a_rate() -> None:
    case = losses(lambda s: 2.5, lambda s: 2.6, base=2.6)
    fast = replace(
        case, plan=PLAN.model_copy(update={"learning_rate": 0.5}), result={**case.result, "learning_rate": 0.5}
    )  # type: ignore[dict-item]
    assert diagnose(fast)[0].settings == {"n_epochs": 6}


def with_rights(case: Case, *rights: float) -> Case:
    """The same run, with the share of the validation part that was right at its last looks."""
    lines = [dict(line) for line in case.history]
    looks = [line for line in lines if "validation_loss" in line]
    for line, right in zip(looks[-len(rights) :], rights, strict=True):
        line["validation_right"] = right
    return replace(case, history=lines)


def test_a_loss_that_rises_while_more_is_right_is_no_overfitting() -> None:
    rising = losses(falling(0.01), lambda step: 0.5 + 0.01 * max(0, step - 30))
    assert "overfitting" in {finding.code for finding in diagnose(rising)}
    better, worse, none = (with_rights(rising, *rights) for rights in ((0.4, 0.5, 0.6), (0.6, 0.5, 0.4), (0, 0, 0)))
    assert "overfitting" not in {finding.code for finding in diagnose(better)}
    assert all("overfitting" in {finding.code for finding in diagnose(case)} for case in (worse, none))


def test_a_model_that_forgets_is_first_kept_nearer_to_its_base() -> None:
    forgets = healthy(evaluation=evaluation(forgetting=0.4))
    (free,) = [finding for finding in diagnose(forgets) if finding.code == "forgetting"]
    (near,) = [finding for finding in diagnose(replace(forgets, plan=PLAN.model_copy(update={"kl_weight": 1.0})))
               if finding.code == "forgetting"]  # fmt: skip
    assert free.settings == {"kl_weight": 1.0} and near.settings["learning_rate"] < 1e-3


# ── runs that were really made ──


def ran(base: Path, directory: Path, **values: Any) -> list[str]:
    from postil.train import run
    from tests.runs import laid_out

    laid_out(directory, base, **values)
    error = None
    try:
        run(directory, lambda event: None)
    except TrainError as refused:
        error = (refused.code, refused.values)
    return [finding.code for finding in diagnose(replace(read_case(directory), error=error))]


def test_real_runs_that_learn_too_slowly_too_briefly_or_unwatched(base: Build, tmp_path: Path) -> None:
    still = {"learning_rate_probe": False, "validation": titles(30)[24:]}
    assert "learning_rate_too_low" in ran(base("qwen2"), tmp_path / "slow", learning_rate=1e-7, **still)
    unwatched = ran(base("qwen2"), tmp_path / "unwatched", **{**still, "validation": []})
    assert "no_validation" in unwatched and "learning_rate_too_low" not in unwatched
    few = ran(base("qwen2"), tmp_path / "few", n_epochs=1, **still)
    assert "few_updates" in few and "too_few_rows" in few


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    for text in ("", "{}", '{"plan": 1}', '{"plan": {"odd": 1}}', "[]"):
        (tmp_path / "plan.json").write_text(text)
        with pytest.raises(TrainError) as refused:
            read_case(tmp_path)
        assert refused.value.code == "nothing_to_resume"


def test_an_unfinished_run_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(f'{{"plan": {PLAN.model_dump_json()}}}')
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    case = read_case(tmp_path)
    assert (case.parts, case.losses, case.result, case.best, case.trend) == ((0, 0, 0), [(1, 2.0)], None, None, None)
    assert diagnose(case) == []
