"""Ctrl-C and other ends of a training on the command line; wrong options are told before anything else."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from postil import flow
from postil.records import Event
from postil.show import Screen
from tests.story import refused, said, settings, sheet, told

if TYPE_CHECKING:
    from tests.models import Build

pytest_plugins = ("tests.story",)
pytestmark = pytest.mark.usefixtures("measured")

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.fixture
def press(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`press(number, when)`: the signal comes when an event is told of which `when` is true, each time."""
    real = Screen.emit

    def arrange(number: signal.Signals, when: Any) -> None:
        def emit(screen: Screen, event: Event) -> None:
            real(screen, event)
            if when(event):
                signal.raise_signal(number)

        monkeypatch.setattr(Screen, "emit", emit)

    return arrange


def first_update(event: Event) -> bool:
    return event.type == "metrics" and event.data["step"] == 1


@pytest.mark.parametrize("number", CODES)
def test_one_signal_ends_a_training_after_its_update_and_keeps_its_state(
    base: Build, tmp_path: Path, press: Any, number: signal.Signals
) -> None:
    arguments = ["train", sheet(tmp_path / "a.csv", 24), "--base", base("qwen2"), "-o", tmp_path / "out", *settings()]
    press(number, first_update)
    code, out, err = said([*arguments, "--json"])
    assert code == CODES[number], out + err
    assert json.loads(out.splitlines()[-1])["error"]["code"] == "interrupted"
    assert list((tmp_path / "out" / "checkpoints").glob("step-00000001"))
    press(number, lambda event: False)
    assert told([*arguments, "--resume"])["updates"] > 1


def test_what_was_learned_until_then_is_kept_where_one_wishes(base: Build, tmp_path: Path, press: Any) -> None:
    arguments = ["train", sheet(tmp_path / "a.csv", 24), "--base", base("qwen2"), "-o", tmp_path / "out", *settings()]
    press(signal.SIGINT, first_update)
    assert said(arguments)[0] == 130
    press(signal.SIGINT, lambda event: False)
    made = told([*arguments, "--keep"])
    assert made["updates"] == 1 and made["verdict"] and (tmp_path / "out" / "adapter_model.safetensors").exists()
    assert told([*arguments, "--keep"])["updates"] == 1  # again: there is nothing left to do
    assert refused(["train", tmp_path / "a.csv", "-o", tmp_path / "none", "--keep"]) == "nothing_to_resume"


@pytest.mark.parametrize("stage", ["prepare", "evaluate"])
def test_where_no_update_is_made_one_ctrl_c_is_enough(base: Build, tmp_path: Path, press: Any, stage: str) -> None:
    arguments = ["train", sheet(tmp_path / "a.csv", 24), "--base", base("qwen2"), "-o", tmp_path / "out", *settings()]
    press(signal.SIGINT, lambda event: event.type == "stage" and event.data["stage"] == stage)
    code, out, err = said([*arguments, "--lang", "en"])
    assert code == 130 and "Traceback" not in out + err and "--resume" in out
    press(signal.SIGINT, lambda event: False)
    assert told([*arguments, "--resume"])["updates"]


@pytest.mark.parametrize("verb", ["check", "plan", "compare", "evaluate", "export", "answer", "doctor", "serve"])
def test_ctrl_c_in_any_command_is_130(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    arguments = {
        "check": [tmp_path], "plan": [tmp_path], "compare": [tmp_path, "x"], "evaluate": [tmp_path],
        "export": [tmp_path, "--to", "peft", "-o", tmp_path / "o"], "doctor": [], "serve": [],
        "answer": [tmp_path, tmp_path, "-o", tmp_path / "o"],
    }[verb]  # fmt: skip

    def pressed(*given: Any, **named: Any) -> Any:
        raise KeyboardInterrupt

    for module in ("data", "training", "proving", "exporting", "serving", "machine"):
        monkeypatch.setattr(f"postil.cli.{module}.open_screen", pressed, raising=False)
    monkeypatch.setattr("postil.show.Screen.__init__", pressed)
    code, out, err = said([verb, *arguments])
    assert code == 130 and "Traceback" not in out + err


def test_ctrl_c_while_libraries_load_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(*given: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("postil.cli.run", pressed)
    assert said(["doctor"])[0] == 130


WRONG = {
    "unknown_preset": ["--preset", "quicktry"],
    "unknown_base": ["--base", "no-such-model"],
    "unknown_field": ["--set", "epochs=3"],
    "setting_range": ["--set", "n_epochs=0"],
    "setting_form": ["--set", "n_epochs"],
}
WRONG_OF_TRAIN = {
    "file_missing": ["--validation", "none.csv"],
    "directory_not_empty": ["-o", "full"],
    "directory_not_writable": ["-o", "a.csv/run"],
    "plan_unreadable": ["--plan", "none.json"],
}


@pytest.mark.parametrize(("verb", "code"), [*(("plan", code) for code in WRONG),
                                            *(("train", code) for code in (WRONG | WRONG_OF_TRAIN))])  # fmt: skip
def test_a_wrong_option_is_told_before_the_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, code: str
) -> None:
    def never(*given: Any, **named: Any) -> Any:
        raise AssertionError("the file was read first")

    monkeypatch.chdir(tmp_path)
    sheet(tmp_path / "a.csv", 12)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work", "utf-8")
    monkeypatch.setattr(flow, "check", never)
    monkeypatch.setattr("postil.model.probe.begun", never)
    place = ["-o", "out"] if verb == "train" else []
    assert refused([verb, "a.csv", *place, *(WRONG | WRONG_OF_TRAIN)[code]]) == code
    assert not (tmp_path / "out").exists()


def test_settings_that_do_not_go_together_are_told_before_the_machine_is_measured(
    base: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import contextlib

    def never(*given: Any) -> Any:
        raise AssertionError("it was measured first")

    monkeypatch.setattr("postil.model.probe.begun", lambda: contextlib.nullcontext(never))
    arguments = ["plan", sheet(tmp_path / "a.csv", 24), "--base", base("qwen2"), "--set", "method=prefix"]
    assert refused([*arguments, "--set", "gradient_checkpointing=true"]).startswith("method")


@pytest.mark.parametrize("cause", ["slow", "memory", "failed"])
@pytest.mark.parametrize("lang", ["zh", "en"])
def test_a_plan_that_could_not_measure_says_why_and_how_busy_the_machine_is(
    base: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: str, lang: str
) -> None:
    import contextlib

    from postil.model.probe import Unmeasured

    def fail(*given: Any) -> Any:
        raise Unmeasured(cause, "180")

    monkeypatch.setattr("postil.model.probe.begun", lambda: contextlib.nullcontext(fail))
    monkeypatch.setattr("psutil.getloadavg", lambda: (7.25, 5.0, 3.0))
    code, out, err = said(["plan", sheet(tmp_path / "a.csv", 24), "--base", base("qwen2"), "--lang", lang])
    assert code == 0 and "7.2" in out.replace("\n", ""), out + err
    plain = told(["plan", tmp_path / "a.csv", "--base", base("qwen2")])
    assert f"not_measured_{cause}" in [doubt["code"] for doubt in plain["doubts"]]
