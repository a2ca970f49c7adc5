"""Examples that would teach something wrong become issues, or are dropped by name."""

from __future__ import annotations

from pathlib import Path

from postil.model.load import load_template
from postil.model.proof import with_issues, without_faulty
from postil.records import Dataset, Example, Message
from tests.models import Build


def dataset(*answers: str) -> Dataset:
    examples = tuple(
        Example((Message("user", f"q{i}"), Message("assistant", answer)), (i + 2,)) for i, answer in enumerate(answers)
    )
    return Dataset(Path("a.csv"), "", "csv", "UTF-8", len(examples), examples)


def test_a_mark_inside_an_answer_is_an_issue_at_its_row(base: Build) -> None:
    found = with_issues(dataset("good", "bad <|im_end|> text"), load_template(base("qwen2")), 512)
    assert {issue.row for issue in found.issues} == {3}
    assert {issue.code for issue in found.issues} == {"marks_as_text"}


def test_faulty_examples_are_dropped_and_listed(base: Build) -> None:
    found = without_faulty(dataset("good", "long " * 200, "fine"), load_template(base("qwen2")), 128)
    assert [example.rows for example in found.examples] == [(2,), (4,)]
    assert [(left.row, left.code) for left in found.dropped] == [(3, "label_cut")]
    assert found.rows == found.used + len(found.dropped)
