"""The broken files of ../shared/traps import as traps.json says, field by field."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from postil.dataset import fix_all, load, read
from postil.records import Dataset, Issue
from postil.settings import Settings

TRAPS = Path(__file__).parents[2].parent / "shared" / "traps"
EVERY = sorted(path.name for path in TRAPS.glob("*") if path.suffix not in (".md",) and path.name != "traps.json")

# plain words of traps.json -> our issue codes, one of which must be there
ISSUES = {
    "damaged key": ["damaged_key"], "glued objects": ["json_split"], "object over several lines": ["json_joined"],
    "compatibility characters": ["compatibility_characters"], "placeholder text": ["placeholder_text"],
    "curly or fullwidth quotes": ["json_quotes", "json_punctuation"], "trailing comma": ["json_trailing_comma"],
    "unclosed brace": ["json_brace_added"], "bad JSON": ["bad_json"], "missing answer": ["missing_answer"],
    "missing question": ["missing_question"], "empty conversation": ["empty_conversation"],
    "unanswered last turn": ["unanswered_last_turn"], "fewer than 10 examples": ["too_few_rows"],
    "fewer than 100 examples": ["few_rows"], "title rows above the header": ["title_rows"],
    "merged cells filled": ["merged_filled"], "not a data row": ["section_row"],
    "other sheets not used": ["other_sheets_not_used"], "control characters": ["control_characters"],
    "duplicate": ["duplicate"], "near duplicate": ["near_duplicate"], "contradiction": ["contradiction"],
    "answer too long": ["answer_too_long"], "HTML left over": ["html_left"],
    "personal data: ID card number": ["personal_id_card"], "personal data: bank card number": ["personal_bank_card"],
    "personal data: e-mail address": ["personal_email"], "personal data: mobile number": ["personal_mobile"],
    "personal data: postal address": ["personal_address"],
}  # fmt: skip
# words that begin or stand in a line of `repaired` -> our repair codes, all of which must be there
REPAIRS = {
    "key 'instrucAon'": ["key_repaired"], "two glued objects": ["json_split"], "U+2F64": ["compatibility_characters"],
    "one object over several lines": ["json_joined"], "curly quote around the key": ["json_quotes"],
    "BOM removed": ["bom", "key_repaired"], "curly quotes, fullwidth colon": ["json_quotes", "json_punctuation"],
    "fullwidth braces only": ["json_punctuation"], "three objects split": ["json_split"],
    "raw line break inside": ["json_joined", "json_line_break"], "keys trimmed": ["key_repaired"],
    "trailing comma": ["json_trailing_comma"], "key 'respone'": ["key_repaired"],
    "missing closing brace": ["json_brace_added"], "kept once, at the start": ["system_once"],
    "the list around the object": ["list_opened"], "merged category cells": ["merged_filled"],
    "merged conversation ids": ["merged_filled"], "pair of curly quotes around": ["quotes_removed"],
    "control characters removed": ["control_characters"], "outer spaces and tab": ["trimmed"],
    "HTML tags removed": ["html_left"],
}  # fmt: skip
WHY = {  # words of `why` -> the codes with which the row may be dropped
    "missing answer": {"missing_answer"}, "missing question": {"missing_question"}, "not JSON": {"bad_json"},
    "empty conversation": {"empty_conversation"}, "no question and answer": {"missing_answer"},
    "section title": {"section_row"}, "total line": {"total_row"}, "has no answer": {"unanswered_last_turn"},
    "placeholder": {"placeholder_text"}, "last turn has no answer": {"unanswered_last_turn"},
    "near duplicate": {"near_duplicate"}, "duplicate": {"duplicate"}, "longer than the model": {"answer_too_long"},
}  # fmt: skip


@pytest.fixture(scope="module")
def expected() -> dict[str, dict]:  # type: ignore[type-arg]
    if not TRAPS.is_dir():
        if Settings().require_all:
            pytest.fail(f"{TRAPS} must be there")
        pytest.skip(f"the folder of broken files is not there: {TRAPS}")
    return {trap["file"]: trap["expect"] for trap in json.loads((TRAPS / "traps.json").read_text(encoding="utf-8"))}


@cache
def loaded(name: str) -> Dataset:
    return load(TRAPS / name)


def test_all_traps_are_tried(expected: dict) -> None:  # type: ignore[type-arg]
    assert set(expected) == set(EVERY)


@pytest.mark.parametrize("name", EVERY)
def test_rows(name: str, expected: dict) -> None:  # type: ignore[type-arg]
    """Used, dropped and not data add up; what is dropped is what must or may be, for that reason."""
    found, expect = loaded(name), expected[name]
    assert found.rows == found.used + len(found.dropped) + len(found.not_data)
    dropped = [(left.row, left.code) for left in found.dropped]
    for entry in expect["dropped"]:
        match = [pair for pair in dropped if pair[0] == entry["row"] and pair[1] in _codes(entry["why"])]
        assert match, f"row {entry['row']} must be dropped: {entry['why']}"
        dropped.remove(match[0])
    may = {entry["row"]: _codes(entry["why"]) for entry in expect.get("may_drop", [])}
    for row, code in dropped:
        assert code in may.get(row, set()), f"row {row} dropped as {code}"
    assert len(found.examples) == expect["examples"] - len(dropped)
    listed = {left.row for left in found.not_data if left.code != "blank_row"}
    top = found.header_row or 0
    for row in listed:
        assert row <= top or row in expect.get("may_list", []), f"row {row} listed as no data"


def _codes(why: str) -> set[str]:
    return next(codes for words, codes in WHY.items() if words in why)


@pytest.mark.parametrize("name", EVERY)
def test_issues(name: str, expected: dict) -> None:  # type: ignore[type-arg]
    found, expect = loaded(name), expected[name]
    codes = {issue.code for issue in found.issues}
    for words in expect["issues"]:
        assert codes & set(ISSUES[words]), f"{words}: {codes}"
    for words, places in expect.get("issues_at", {}).items():
        reported = [issue for issue in found.issues if issue.code in ISSUES[words]]
        for place in places:
            assert any(place in (issue.row, issue.cell) for issue in reported), f"{words} at {place}"
    if "must_not_report" in expect:
        quiet = expect["must_not_report"]
        assert quiet["code"] == "personal data"
        loud = {issue.row for issue in found.issues if issue.code.startswith("personal_")}
        assert not loud & set(quiet["rows"])
    if expect.get("no_issues"):
        assert codes <= {"more_rows", "few_rows"} and not found.repaired
    for issue in found.issues:
        _readable(issue)


def _readable(issue: Issue) -> None:
    for language in ("zh", "en"):
        assert issue.message(language) and issue.fix(language)


@pytest.mark.parametrize("name", EVERY)
def test_repairs(name: str, expected: dict) -> None:  # type: ignore[type-arg]
    found = loaded(name)
    codes = {repair.code for repair in found.repaired}
    for line in expected[name]["repaired"]:
        wanted = next(codes for words, codes in REPAIRS.items() if words in line)
        assert set(wanted) <= codes, f"{line}: {codes}"
        if line.startswith("row ") and line[4:].split(":")[0].isdigit():
            row = int(line[4:].split(":")[0])
            here = {repair.code for repair in found.repaired if repair.row == row}
            assert set(wanted) <= here, line
    for repair in found.repaired:
        assert repair.message("zh") and repair.message("en") and repair.before != repair.after


@pytest.mark.parametrize("name", EVERY)
def test_contents(name: str, expected: dict) -> None:  # type: ignore[type-arg]
    found, expect = loaded(name), expected[name]
    dialogues = [[(m.role, m.content.strip()) for m in example.messages] for example in found.examples]
    kept_rows = {row for example in found.examples for row in example.rows}
    kept = [wanted for row, wanted in expect.get("if_kept", {}).items() if int(row) in kept_rows]
    for wanted in [*expect["must_contain"], *kept]:
        assert any(_same(dialogue, wanted) for dialogue in dialogues), wanted
    text = "\n".join(content for dialogue in dialogues for _, content in dialogue)
    for words in expect.get("must_not_contain", []):
        assert words not in text


def _same(dialogue: list[tuple[str, str]], wanted: list[dict]) -> bool:  # type: ignore[type-arg]
    if len(dialogue) != len(wanted):
        return False
    for (role, content), want in zip(dialogue, wanted, strict=True):
        exact = [want["content"]] if "content" in want else want.get("any")
        good = content in exact if exact is not None else all(part in content for part in want["has"])
        if role != want["role"] or not good:
            return False
    return True


@pytest.mark.parametrize("name", EVERY)
def test_form(name: str, expected: dict) -> None:  # type: ignore[type-arg]
    found, expect = loaded(name), expected[name]
    known = """examples dropped may_drop repaired issues issues_at must_contain must_not_contain if_kept
    may_list no_issues must_not_report header_row columns sheet encoding"""
    assert set(expect) <= set(known.split()), "a field of traps.json that no test looks at"
    for field in ("header_row", "sheet", "encoding"):
        if field in expect:
            assert getattr(found, field) == expect[field]
    for role, letter in expect.get("columns", {}).items():
        assert found.columns[role] == letter


@pytest.mark.parametrize("name", EVERY)
def test_all_clicks_together_mend_what_clicks_can_mend(name: str, expected: dict) -> None:  # type: ignore[type-arg]
    """No such problem is left and none is new, but that there are fewer rows; what is dropped now is by choice."""
    before = loaded(name)
    right, after = fix_all(read(TRAPS / name))
    assert not [issue for issue in after.issues if issue.action]
    new = {issue.code for issue in after.issues} - {issue.code for issue in before.issues}
    assert new <= {"few_rows", "more_rows", "too_few_rows"}
    assert after.rows == after.used + len(after.dropped) + len(after.not_data) == before.rows
    used = {row for example in after.examples for row in example.rows}  # two records on one line: one may be used
    assert all(left.code == "left_out_by_user" or left.row in used for left in after.dropped)
    assert (after.columns, after.sheet, after.header_row) == (before.columns, before.sheet, before.header_row)
    assert len(after.examples) <= len(before.examples) and after.left_out == len(right.without)
