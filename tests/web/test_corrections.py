"""From click to reading: nothing that was put right before is lost."""

from __future__ import annotations

from postil.web.corrections import with_action, with_edit, without_edit


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
