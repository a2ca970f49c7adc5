"""The table of a data set: what is shown instead of what stands in a cell."""

from __future__ import annotations

from typing import Any

from postil.web.grid import mended_text


def repair(code: str, cell: str, before: str, after: str) -> dict[str, Any]:
    return {"code": code, "cell": cell, "before": before, "after": after, "message": ""}


def test_masked_texts_are_shown_masked() -> None:
    masked = repair("masked", "B2", "call 13812345678", "call [mobile number]")
    cell = {"at": "B2", "text": " call 13812345678 "}
    assert mended_text({"repaired": [masked]}, cell) == masked
    assert mended_text({"repaired": []}, cell) is None and mended_text({}, cell) is None


def test_a_repair_of_more_than_the_cell_is_not_shown_as_the_cell() -> None:
    cell = {"at": "B2", "text": "call 13812345678"}
    for other in (
        repair("masked", "B2", "Answer: call 13812345678", "Answer: call [mobile number]"),  # of several columns
        repair("masked", "C2", "call 13812345678", "call [mobile number]"),
        repair("merged_filled", "B2", "call 13812345678", "call 13812345678 × 20"),
    ):
        assert mended_text({"repaired": [other]}, cell) is None
