"""What is asked in the test was neither learned nor chosen by."""

from __future__ import annotations

from postil.dataset import apart
from postil.records import Example, Message, Split


def rows(*questions: str, answer: str = "a") -> tuple[Example, ...]:
    system = Message("system", "Be brief.")
    return tuple(
        Example((system, Message("user", question), Message("assistant", answer)), rows=(i,))
        for i, question in enumerate(questions, start=2)
    )


def asked(part: tuple[Example, ...]) -> list[str]:
    return [example.question[-1].content for example in part]


def test_a_question_stands_in_one_part_and_the_test_keeps_it() -> None:
    parts = Split(rows("几点开门？", "b", "c", "d"), rows("d", "e", "Ｆ"), rows("几点开门", "e", "g", answer="other"))
    found, twice = apart(parts)
    assert (asked(found.training), asked(found.validation), asked(found.test)) == (
        ["b", "c"], ["d", "Ｆ"], ["几点开门", "e", "g"],
    )  # fmt: skip
    assert twice == {"training": 2, "validation": 1}


def test_parts_without_common_questions_stay_as_they_are() -> None:
    parts = Split(rows("a", "b"), rows("c"), rows("d"))
    assert apart(parts) == (parts, {})
    assert apart(Split(rows("a"), (), ())) == (Split(rows("a"), (), ()), {})


def test_a_file_that_is_all_of_the_training_is_told_and_leaves_something_to_learn() -> None:
    found, twice = apart(Split(rows("a", "b"), (), rows("a", "b")))
    assert asked(found.training) == ["a", "b"] and twice == {"same": 2}
