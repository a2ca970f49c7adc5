"""Two versions of a data set, example by example."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from postil.dataset import Difference, diff, load
from postil.dataset.raw import Raw, Record
from postil.records import Dataset
from tests.dataset.made import PAIRS, csv


def table(path: Path, *rows: tuple[str, str]) -> Dataset:
    return csv(path, "问题,答案\n" + "".join(f"{a},{b}\n" for a, b in rows))


def answers(found: Difference) -> tuple[list[str], list[str], list[tuple[str, str]]]:
    changed = [(a.answer, b.answer) for a, b in found.changed]
    return [one.answer for one in found.added], [one.answer for one in found.removed], changed


def test_the_same_file_does_not_differ(tmp_path: Path) -> None:
    found = diff(table(tmp_path / "a.csv", *PAIRS), table(tmp_path / "b.csv", *reversed(PAIRS)))
    assert found == Difference(len(PAIRS), (), (), ())


def test_added_removed_and_changed(tmp_path: Path) -> None:
    now = [*PAIRS[1:3], (PAIRS[3][0], "三十天内可以换。"), *PAIRS[4:], ("新的问题？", "新的答案。")]
    found = diff(table(tmp_path / "a.csv", *PAIRS), table(tmp_path / "b.csv", *now))
    assert found.same == 10
    assert answers(found) == (["新的答案。"], [PAIRS[0][1]], [(PAIRS[3][1], "三十天内可以换。")])
    told = found.as_json()
    assert told["counts"] == {"added": 1, "removed": 1, "changed": 1}
    assert told["changed"][0]["before"]["rows"] == [5] and told["changed"][0]["after"]["rows"] == [4]
    assert told["added"][0]["messages"][-1] == {"role": "assistant", "content": "新的答案。"}
    assert not found.as_json(0)["added"] and found.as_json(0)["counts"]["added"] == 1


def test_a_question_put_in_other_words_is_changed(tmp_path: Path) -> None:
    now = [("请问怎么退货呀？", PAIRS[0][1]), *PAIRS[1:]]
    found = diff(table(tmp_path / "a.csv", *PAIRS), table(tmp_path / "b.csv", *now))
    assert len(found.changed) == 1 and not found.added and not found.removed


def test_an_example_that_resembles_one_elsewhere_is_changed(tmp_path: Path) -> None:
    long = (
        "七天无理由退货需要哪些条件和凭证才能办理",
        "商品完好并且不影响二次销售，请保留吊牌和发票，在订单页面申请。",
    )
    near = (f"{long[0]}呢", f"{long[1]}谢谢。")
    found = diff(table(tmp_path / "a.csv", *PAIRS, long), table(tmp_path / "b.csv", near, *PAIRS))
    assert len(found.changed) == 1 and not found.added and not found.removed


def test_versions_of_one_file(tmp_path: Path) -> None:
    before = table(tmp_path / "a.csv", *PAIRS)
    after = load(
        before.path, edits={"A2": "完全不同的问法", "B2": "在订单页点申请退货即可。", "B5": "可以换。"}, without=[3]
    )
    found = diff(before, after)
    assert (found.same, len(found.changed), len(found.added), len(found.removed)) == (9, 2, 0, 1)


words = st.sampled_from(["怎么退？", "怎么退货？", "点申请。", "点一下申请。", "好", "七天内可以退货，请在订单页申请"])


@settings(max_examples=100, deadline=None)
@given(*[st.lists(st.tuples(words, words), max_size=8)] * 2)
def test_nothing_is_counted_twice_or_lost(old: list[tuple[str, str]], new: list[tuple[str, str]]) -> None:
    first, second = (
        load(Raw(Path("a.jsonl"), "0", "jsonl", "", None, records=tuple(
            Record(n, {"question": q, "answer": a}) for n, (q, a) in enumerate([*rows, ("末尾？", "末尾")], 1))))
        for rows in (old, new)
    )  # fmt: skip
    found = diff(first, second)
    assert found.same + len(found.removed) + len(found.changed) == len(first.examples)
    assert found.same + len(found.added) + len(found.changed) == len(second.examples)
    back = diff(second, first)
    assert back.same == found.same
