"""Examples and datasets: what they look like to scripts, and that no row is lost."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from postil.records import Dataset, Example, Issue, Left, Message, Repair

TURNS = (Message("system", "s"), Message("user", "a"), Message("assistant", "b"), Message("user", "c"),
         Message("assistant", "d"), Message("user", "e"))  # fmt: skip


def dataset() -> Dataset:
    return Dataset(
        Path("a.csv"), "0" * 64, "csv", "UTF-8", 5, (Example(TURNS[1:3], (2,)),),
        dropped=(Left(3, "missing_answer"),), not_data=(Left(1, "header_row"), Left(4, "blank_row")),
        issues=(Issue("missing_answer", "error", 3, "B3"),), repaired=(Repair("trimmed", 2, " b", "b", "B2"),),
        columns={"question": "A", "answer": "B"},
    )  # fmt: skip


def test_an_example_asks_all_that_stands_before_its_last_answer() -> None:
    example = Example(TURNS, (2, 3))
    assert example.question == TURNS[:4] and example.answer == "d"


def test_an_example_as_openai_writes_it() -> None:
    call = {"tool_calls": [{"id": "1"}]}
    example = Example((Message("user", "a"), Message("assistant", "", 0.0, call)), (2,), tools=({"name": "t"},))
    assert example.as_json() == {
        "messages": [{"role": "user", "content": "a"},
                     {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}], "weight": 0.0}],
        "tools": [{"name": "t"}],
    }  # fmt: skip


def test_every_row_is_used_or_dropped_or_no_data() -> None:
    assert dataset().used == 2
    told = json.loads(json.dumps(dataset().as_json()))
    assert told["rows"] == told["used"] + len(told["dropped"]) + told["not_data"]
    assert told["dropped"] == [{"row": 3, "code": "missing_answer", "message": Left(3, "missing_answer").message()}]


def test_a_dataset_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset().rows = 7  # type: ignore[misc]
