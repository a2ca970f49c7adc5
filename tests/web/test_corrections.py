"""From click to reading: nothing that was put right before is lost."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from postil.web.corrections import with_action, with_changes, with_edit, with_row, with_texts, without_edit


def test_clicks_add_up() -> None:
    reading = with_edit({"system": "Be brief."}, "B7", "new")
    reading = with_action(reading, {"kind": "edit", "cell": "B8", "text": "clean"})
    reading = with_action(reading, {"kind": "leave_out", "rows": [9, 4]})
    reading = with_action(reading, {"kind": "leave_out", "rows": [4, 5]})
    reading = with_action(reading, {"kind": "mask"})
    assert reading == {"system": "Be brief.", "edits": {"B7": "new", "B8": "clean"}, "without": [4, 5, 9], "mask": True}


def test_an_edit_is_taken_back_alone() -> None:
    assert without_edit({"edits": {"B7": "a", "B8": "b"}, "mask": True}, "B7") == {"edits": {"B8": "b"}, "mask": True}
    assert without_edit({}, "B7") == {"edits": {}}


def test_a_row_comes_back_alone() -> None:
    assert with_row({"without": [4, 9], "mask": True}, 9) == {"without": [4], "mask": True}
    assert with_row({}, 9) == {"without": []}


def row(number: int, text: str, **more: Any) -> dict[str, Any]:
    return {"number": number, "state": "used", "code": None, "cells": [{"at": f"A{number}", "text": text}], **more}


def test_rows_show_what_was_put_right_before_anything_has_checked_it() -> None:
    rows = [row(2, "a"), row(3, "b"), row(4, "c", state="dropped", code="no_answer")]
    shown = with_texts(rows, {"edits": {"A2": "new", "B9": "elsewhere"}, "without": [3]})
    assert shown[0]["cells"] == [{"at": "A2", "text": "new", "before": "a"}]
    assert [one["state"] for one in shown] == ["used", "dropped", "dropped"]
    assert [one["code"] for one in shown] == [None, "left_out_by_user", "no_answer"]
    assert rows[0]["cells"] == [{"at": "A2", "text": "a"}]


def test_rows_show_what_stands_in_the_file_once_it_is_taken_back() -> None:
    rows = with_texts([row(2, "a"), row(3, "b")], {"edits": {"A2": "new"}, "without": [3]})
    shown = with_texts(rows, {})
    assert shown[0]["cells"] == [{"at": "A2", "text": "a"}] and shown[1]["state"] == "used"
    assert with_texts(rows, {"edits": {"A2": "newer"}})[0]["cells"][0] == {"at": "A2", "text": "newer", "before": "a"}


def test_what_two_changed_in_different_places_stands_together() -> None:
    begun = {"edits": {"B2": "a", "B3": "b"}, "without": [4], "system": "s", "columns": {"question": "A"}}
    mine = {"edits": {"B2": "mine", "B3": "b"}, "without": [4, 9], "system": "s", "columns": {"question": "A"}}
    theirs = {"edits": {"B2": "a"}, "without": [], "system": "theirs", "columns": {"question": "C"}, "mask": True}
    merged, both = with_changes(begun, mine, theirs)
    assert merged == {
        "edits": {"B2": "mine"},
        "without": [9],
        "system": "theirs",
        "columns": {"question": "C"},
        "mask": True,
    }
    assert both == []


def test_what_both_changed_is_named_and_mine_stands() -> None:
    begun = {"edits": {"B2": "a", "B3": "b"}, "instruction": "old"}
    mine, theirs = {"edits": {"B2": "mine"}}, {"edits": {"B2": "theirs", "B3": "theirs"}, "instruction": "new"}
    merged, both = with_changes(begun, mine, theirs)
    assert merged == {"edits": {"B2": "mine"}}
    assert both == [("edits", "B2"), ("edits", "B3"), ("instruction", "")]
    assert with_changes(begun, mine, mine) == (mine, [])  # the same change of both is none


def test_corrections_of_another_sheet_are_not_mixed_in() -> None:
    begun = {"sheet": "一", "edits": {"B2": "a"}}
    mine, theirs = {"sheet": "二"}, {"sheet": "一", "edits": {"B2": "a", "B9": "theirs"}}
    assert with_changes(begun, mine, theirs) == (mine, [("sheet", "")])
    assert with_changes(begun, theirs, mine) == (theirs, [("sheet", "")])


TEXTS = st.dictionaries(st.sampled_from(["B2", "B3", "B4"]), st.sampled_from(["x", "y", "z"]), min_size=1)
READINGS = st.fixed_dictionaries(
    {},
    optional={
        "edits": TEXTS,
        "without": st.lists(st.integers(2, 5), min_size=1, unique=True).map(sorted),
        "mask": st.just(True),
        "sheet": st.sampled_from(["一", "二"]),
        "system": st.sampled_from(["p", "q"]),
        "columns": st.fixed_dictionaries({"question": st.sampled_from("AB")}),
    },
)


@given(READINGS, READINGS, READINGS)
def test_nothing_that_one_of_two_changed_is_lost(begun: Any, mine: Any, theirs: Any) -> None:
    merged, both = with_changes(begun, mine, theirs)
    assert with_changes(begun, mine, begun) == (mine, []), "nobody else was at it"
    assert with_changes(begun, begun, theirs) == (theirs, []), "I changed nothing"
    again, _ = with_changes(begun, theirs, mine)
    assert both or again == merged, "without a clash it does not matter who came first"
