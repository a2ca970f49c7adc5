"""What is said of a machine and an installation."""

from __future__ import annotations

from pathlib import Path

import pytest

from postil import doctor
from postil.doctor import examine


def test_it_names_the_machine_the_settings_and_no_difference_that_is_none() -> None:
    found = examine()
    assert {"facts", "settings", "differences", "problems"} == set(found)
    assert found["settings"]["POSTIL_HOME"] and "POSTIL_LANG" in found["settings"]
    assert not [line for line in found["differences"] if "postil" in line.lower().split()[:1]]


def test_a_package_of_another_version_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "version", lambda name: "0.0.1+local" if name == "peft" else doctor._tested()[name])
    told = examine()["differences"]
    assert len(told) == 1 and "peft" in told[0] and "0.0.1" in told[0]


def test_a_local_build_of_the_tested_version_is_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "version", lambda name: f"{doctor._tested()[name]}+cpu")
    assert examine()["differences"] == []


def test_too_little_memory_and_disk_are_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LEAST_MEMORY", 10**18)
    monkeypatch.setattr(doctor, "LEAST_DISK", 10**18)
    assert len(examine()["problems"]) == 2


def test_the_tested_set_is_the_pinned_one() -> None:
    pinned = (Path(doctor.__file__).parents[1] / "constraints.txt").read_text("utf-8")
    assert f"torch=={doctor._tested()['torch']}" in pinned


@pytest.mark.parametrize(("load", "words"), [(0.3, "0.3"), (7.9, "5.0 times")])
def test_it_says_how_busy_the_machine_is_and_what_that_means(
    monkeypatch: pytest.MonkeyPatch, load: float, words: str
) -> None:
    from postil.locales import speak

    monkeypatch.setattr("psutil.getloadavg", lambda: (load, load, load))
    monkeypatch.setattr("postil.model.memory.usable_cores", lambda: 2)
    speak("en")
    line = examine()["facts"][doctor.say("doctor.load")]
    assert words in line and "2" in line
