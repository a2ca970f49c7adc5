"""What people see: both languages, in a window, in a pipe, and nothing but one object for scripts."""

from __future__ import annotations

import io
import json
import re
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from postil.errors import DataError
from postil.locales import say
from postil.plan import bases, fields
from postil.records import Choice, Estimate, Evaluation, Event, Issue, Left, Plan, Proposal, Repair, Verdict
from postil.show import Screen
from tests.records.test_dataset import dataset

HAN = re.compile(r"[\u4e00-\u9fff]")
VERDICT = Verdict("better", "exact_match", 0.5, (0.3, 0.7), 40, 0.0001)
EVALUATION = Evaluation(
    {"exact_match": 0.0, "loss": 4.0, "length": 20.0}, {"exact_match": 0.5, "loss": 1.0, "length": 3.0}, VERDICT, 0.01,
    ({"question": "[bold]蓝色连衣裙", "reference": "dress", "base": "[/red] I am", "tuned": "dress"},),
)  # fmt: skip
PROPOSAL = Proposal(
    Plan(), {"r": Choice(8, "alpha_twice_rank", "rule", {"r": 4}), "seed": Choice(42, "seed_fixed")},
    Estimate((60.0, 300.0), 10**9, 10**7, (0.01, 0.02)),
)  # fmt: skip
METRICS = Event("metrics", {"stage": "train", "percent": 41.0, "step": 3, "total_steps": 9, "loss": 1.5, "cost": 0.01,
                            "tokens_per_second": 700.0, "seconds_left": 100.0, "validation_loss": 1.25})  # fmt: skip
FAULTY = {
    "examples": 1, "end_token_learned": 0, "cut": 1, "all_masked": 0, "marks": 2,
    "rows": [{"rows": [2], "pieces": [("what", "ignored"), ("dress", "learned"), ("!", "cut")], "faults": ["cut"],
              "marks": 2}],
}  # fmt: skip


class Shown:
    """A screen, and what was written on it. `wide`: as in a window of that many columns."""

    def __init__(self, *, as_json: bool = False, wide: int = 0) -> None:
        self._out, self._err = io.StringIO(), io.StringIO()
        with redirect_stdout(self._out), redirect_stderr(self._err):
            self.screen = Screen(as_json=as_json)
            if wide:
                self.screen.console = Console(file=self._out, force_terminal=True, width=wide, highlight=False)

    def __call__(self, name: str, *arguments: Any, **named: Any) -> tuple[str, str]:
        with redirect_stdout(self._out), redirect_stderr(self._err):
            getattr(self.screen, name)(*arguments, **named)
        return self._out.getvalue(), self._err.getvalue()


CALLS: list[tuple[str, tuple[Any, ...], str]] = [
    ("dataset", (dataset(),), "B3"),
    ("xray", (FAULTY, 5), "dress"),
    ("bases", ([(base, False) for base in bases()],), "qwen3-0.6b"),
    ("proposal", (PROPOSAL, (Issue("memory_short", "warning", values={"needed": 9, "free": 3}),)), "seed"),
    ("fields", (fields(),), "learning_rate"),
    ("evaluation", (EVALUATION,), "dress"),
    ("emit", (METRICS,), "3/9"),
    ("emit", (Event("answers", {"done": 32, "of": 60}),), "32/60"),
]


@pytest.mark.parametrize(("name", "arguments", "seen"), CALLS)
@pytest.mark.parametrize("wide", [0, 100])
def test_it_is_shown_in_the_language_that_is_spoken(
    lang: str, name: str, arguments: tuple[Any, ...], seen: str, wide: int
) -> None:
    shown = Shown(wide=wide)
    shown(name, *arguments)
    out, err = shown("close")
    assert seen in out and not err
    own = re.sub(r"蓝色连衣裙|[^\n]*→[^\n]*", "", out)
    assert bool(HAN.search(own)) == (lang == "zh"), own


def test_a_pipe_gets_no_colours() -> None:
    for name, arguments, _ in CALLS:
        out, _ = Shown()(name, *arguments)
        assert out and "\x1b" not in out


def test_words_of_the_user_are_never_read_as_colours() -> None:
    out, _ = Shown()("evaluation", EVALUATION)
    assert "[bold]" in out and "[/red] I am" in out


@pytest.mark.parametrize("name", ["dataset", "xray", "bases", "proposal", "evaluation", "say", "title", "doctor"])
def test_scripts_get_the_result_alone(name: str) -> None:
    arguments = {one: given for one, given, _ in CALLS}.get(name, ("show.next",))
    shown = Shown(as_json=True)
    out, err = shown(name, *arguments)
    assert (out, err) == ("", "")
    out, err = shown("result", {"path": "中文"})
    assert json.loads(out) == {"path": "中文"} and out.count("\n") == 1


def test_events_go_to_standard_error_for_scripts() -> None:
    out, err = Shown(as_json=True)("emit", METRICS)
    assert out == "" and json.loads(err)["step"] == 3


def test_an_error_is_one_object_for_scripts_and_three_lines_for_people(lang: str) -> None:
    error = DataError("labels_wrong", rows=[3, 4], n=2, causes="· x (3, 4)")
    out, err = Shown(as_json=True)("error", error)
    assert json.loads(out)["error"]["rows"] == [3, 4] and not err
    out, err = Shown()("error", error)
    assert not out and err.rstrip().endswith("(labels_wrong)") and "--skip-faulty" in err
    assert bool(HAN.search(err)) == (lang == "zh")


def test_a_pipe_hears_of_each_stage_once_and_not_of_each_update() -> None:
    shown = Shown()
    for _ in range(3):
        out, _ = shown("emit", METRICS)
    assert out.count("3/9") == 1
    out, _ = shown("emit", Event("stage", {"stage": "evaluate", "percent": 90.0, "what": "tuned"}))
    assert len(out.strip().splitlines()) == 2


def test_a_message_that_has_no_sentence_is_shown_all_the_same() -> None:
    out, _ = Shown()("emit", Event("message", {"code": "never_heard", "n": 7}, "warn"))
    assert "7" in out


def test_what_is_left_out_is_counted() -> None:

    many = replace(dataset(), rows=40, dropped=tuple(Left(i, "missing_answer") for i in range(2, 32)))
    out, _ = Shown()("dataset", many)
    assert str(len(many.untold) - 8) in out
    repaired = replace(dataset(), repaired=tuple(Repair("trimmed", i, " a", "a") for i in range(9)))
    assert "× 9" in Shown()("dataset", repaired)[0]


def test_a_dropped_row_is_told_once(lang: str) -> None:

    twin, other = Left(7, "duplicate", {"first": 3}), Left(9, "missing_answer")
    issue = Issue("duplicate", "warning", 7, "A7", {"first": 3})
    out, _ = Shown()("dataset", replace(dataset(), dropped=(twin, other), issues=(issue,)))
    assert out.count(twin.message()) == 1 and out.count(other.message()) == 1


def test_the_time_of_each_stage_is_shown(lang: str) -> None:
    out, _ = Shown()("stages", {"train": 300.0, "evaluate": 40.0, "probe": 12.0, "measure": 8.0})
    assert re.findall(r"\d+", out) == ["8", "12", "5", "40"]
    out, _ = Shown()("emit", Event("timed", {"what": "probe", "seconds": 12.3}))
    assert "12" in out and say("stage.probe", lang) in out


def test_a_plan_shows_what_matters_to_it_and_what_was_wished_for() -> None:
    """The width of a bottleneck says nothing to somebody who trains a LoRA, unless he set it himself."""
    for source, seen in (("rule", False), ("user", True)):
        reasons = {**PROPOSAL.reasons, "bottleneck": Choice(64, "bottleneck", source)}
        out, _ = Shown()("proposal", replace(PROPOSAL, reasons=reasons), ())
        assert ("bottleneck" in out) is seen and "seed" in out
