"""The tasks that rules are measured on: always the same rows, and no question of a test part is learned from."""

from __future__ import annotations

import json

import pytest

from benchmarks.tuning.settings import SETTINGS
from benchmarks.tuning.tasks import LABELS, TEST_ROWS, chinese_amount, task_of
from postil.plan import check_settings

HERE = ("titles", "amounts", "emoji", "phrases", "slots", "labels", "rules", "service", "null")  # need no other package


@pytest.mark.parametrize("name", HERE)
def test_a_task_is_always_the_same_and_its_test_part_is_new(name: str) -> None:
    task = task_of(name)
    assert task == task_of(name)
    assert 100 <= len(task.training) <= 1000 and len(task.test) >= TEST_ROWS == 200
    learned = {row[0] for row in task.training}
    assert len(learned) == len(task.training) and not learned & {row[0] for row in task.test}
    messages = [json.loads(line)["messages"] for line in task.lines("test")]
    assert all(one[-1]["role"] == "assistant" and one[-1]["content"] for one in messages)


def test_nouns_of_the_test_are_new() -> None:
    task = task_of("titles")
    assert not {noun for _, noun in task.training} & {noun for _, noun in task.test}


def test_a_label_is_wrong_now_and_then_but_only_where_it_is_learned() -> None:
    def label_of(said: str) -> str:
        return next(label for label, forms in LABELS.items() if any(form in said for form in forms))

    task = task_of("labels")
    wrong = [sum(label_of(said) != label for said, label in rows) for rows in (task.training, task.test)]
    assert 10 <= wrong[0] <= 30 and wrong[1] == 0


@pytest.mark.parametrize(
    ("yuan", "words"),
    [
        (5, "伍元整"),
        (10, "壹拾元整"),
        (105, "壹佰零伍元整"),
        (1005, "壹仟零伍元整"),
        (10305, "壹万零叁佰零伍元整"),
        (100_000, "壹拾万元整"),
        (120_030, "壹拾贰万零叁拾元整"),
        (13_000, "壹万叁仟元整"),
    ],
)
def test_amounts_are_written_as_on_a_cheque(yuan: int, words: str) -> None:
    assert chinese_amount(yuan) == words


def test_settings_are_what_a_person_could_type() -> None:
    assert len(SETTINGS) == 14
    for setting in SETTINGS.values():
        check_settings(setting)


def test_two_guards_have_nothing_in_common() -> None:
    from benchmarks.tuning.measure import second_guard
    from postil.evaluate import neutral_texts

    first, second = neutral_texts(), second_guard()
    pieces = {text[i : i + 20] for text in first for i in range(len(text) - 19)}
    assert len(second) >= 20 and len({text.isascii() for text in second}) == 2
    assert not [text for text in second for i in range(len(text) - 19) if text[i : i + 20] in pieces]


def test_the_table_has_a_column_for_each_setting_and_means_over_what_all_have() -> None:
    from benchmarks.tuning.measure import Measured
    from benchmarks.tuning.table import body

    def made(task: str, setting: str, seed: int, score: float) -> Measured:
        return Measured(task, setting, seed, score, 1.0, 1.0, 0.02, 0.01, 100, 90, 1e-3, 60.0, {})

    measured = [made("labels", "automatic", seed, score) for seed, score in ((42, 0.9), (43, 0.8))]
    measured += [made("labels", "TRL", 42, 0.5), made("dates", "automatic", 42, 0.7), made("dates", "TRL", 42, 0.3)]
    measured.append(made("titles", "automatic", 42, 0.2))
    text = body(measured)
    assert "| labels | 85.0 | 50.0 |" in text and "| titles | 20.0 | - |" in text
    assert "| mean of 2 | 77.5 | 40.0 |" in text, "titles was measured with one of the settings alone"
    assert "| dates | 0.010 (0.020) |" in text and "| dates | 60 | 60 |" in text
