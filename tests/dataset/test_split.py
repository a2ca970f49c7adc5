from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from postil.dataset import split
from postil.dataset.similar import plain
from postil.records import Example, Message


def example(question: str, answer: str = "答", row: int = 1, group: str = "") -> Example:
    return Example((Message("user", question), Message("assistant", answer)), (row,), group)


def rows(examples: tuple[Example, ...]) -> set[int]:
    return {row for one in examples for row in one.rows}


questions = st.lists(st.text("甲乙丙？ ?", min_size=1, max_size=4), min_size=1, max_size=60)


@settings(max_examples=80, deadline=None)
@given(questions, st.integers(0, 30), st.integers(0, 30), st.integers(0, 9))
def test_every_example_once_and_no_question_on_two_sides(
    texts: list[str], validation: int, test: int, seed: int
) -> None:
    examples = [example(text, str(i), i) for i, text in enumerate(texts)]
    parts = split(examples, validation_rows=validation, test_rows=test, seed=seed)
    sides = (parts.training, parts.validation, parts.test)
    assert sorted(e.rows for side in sides for e in side) == sorted(e.rows for e in examples)
    asked = [{plain(e.messages[0].content) for e in side} for side in sides]
    assert not (asked[0] & asked[1] or asked[0] & asked[2] or asked[1] & asked[2])
    assert len(parts.validation) <= validation and len(parts.test) <= test
    assert 2 * len(parts.training) >= len(examples)


def test_the_sizes_that_were_asked_for_whatever_the_order() -> None:
    examples = [example(f"第{i}号柜在哪里", f"{i}", i) for i in range(300)]
    parts = split(examples, validation_rows=30, test_rows=50, seed=3)
    assert (len(parts.training), len(parts.validation), len(parts.test)) == (220, 30, 50)
    random.Random(1).shuffle(examples)
    again = split(examples, validation_rows=30, test_rows=50, seed=3)
    assert rows(parts.test) == rows(again.test) and rows(parts.validation) == rows(again.validation)
    other = split(examples, validation_rows=30, test_rows=50, seed=4)
    assert rows(parts.test) != rows(other.test)


def test_groups_and_near_duplicates_stay_together() -> None:
    long = "这件衬衫用的是新疆长绒棉，洗后不易变形，夏天穿着凉快，领口加固过，机洗请装洗衣袋，晾在阴凉处，不要暴晒"
    for seed in range(12):
        examples = [example(f"柜{i}在哪", row=i) for i in range(20)]
        examples += [example(long, row=30), example(long.replace("凉快", "凉爽"), row=31)]
        examples += [example("怎么退", row=32, group="row 32"), example("退货流程是怎样的", row=33, group="row 32")]
        parts = split(examples, validation_rows=6, test_rows=6, seed=seed)
        for side in (parts.training, parts.validation, parts.test):
            here = rows(side)
            assert (30 in here) == (31 in here) and (32 in here) == (33 in here)


def test_a_common_instruction_does_not_bind_all_rows_together() -> None:
    prompt = (
        "请从下列商品标题中提取最核心的商品主体，直接输出主体名，不要加其它词，不要解释，不要标点，只要一个词：" * 5
    )
    examples = [example(f"{prompt}{a}{b}{c}雨伞", row=i) for i, (a, b, c) in enumerate(
        (a, b, c) for a in "红黄蓝绿紫" for b in "长短圆方" for c in "甲乙丙")]  # fmt: skip
    parts = split(examples, validation_rows=10, test_rows=10, seed=1)
    assert (len(parts.validation), len(parts.test)) == (10, 10)


def test_two_rows_are_enough_for_nothing_but_training() -> None:
    parts = split([example("甲"), example("乙")], validation_rows=0, test_rows=0, seed=1)
    assert len(parts.training) == 2 and not parts.validation and not parts.test


def test_a_label_that_is_rare_goes_to_training() -> None:
    from postil.dataset import with_every_label
    from postil.records import Split

    def labelled(label: str, row: int) -> Example:
        return Example((Message("user", f"q{row}"), Message("assistant", label)), (row,))

    parts = Split(
        (labelled("a", 1), labelled("b", 2)), (labelled("c", 3), labelled("a", 4)), (labelled("c", 5), labelled("d", 6))
    )
    made = with_every_label(parts, lambda one: {one.answer}, validation=True, test=True)
    assert [[one.rows[0] for one in part] for part in (made.training, made.validation, made.test)] == [
        [1, 2, 3, 6],
        [4],
        [5],
    ]
    own = with_every_label(parts, lambda one: {one.answer}, validation=False, test=False)
    assert own == parts
