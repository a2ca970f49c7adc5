"""Corrections become examples: the right answer, or an answer that was praised; each question once."""

from __future__ import annotations

from typing import Any

import pytest

from postil.errors import StoreError
from postil.store import LOCAL, Store
from postil.store import corrections as room


def add(store: Store, set_id: str, question: str = "退货?", answer: str = "不行", **more: Any) -> str:
    messages = [{"role": "system", "content": "你是客服。"}, {"role": "user", "content": question}]
    return store.corrections.add(LOCAL, set_id, messages=messages, answer=answer, by="key_1", **more).id


def test_only_what_is_known_to_be_right_is_learned_and_the_last_word_counts(store: Store) -> None:
    owner = store.corrections.create(LOCAL, "售后").id
    add(store, owner, "a", right="七天内可以退")
    add(store, owner, "b", answer="好的", thumb="up")
    add(store, owner, "c", thumb="down")
    add(store, owner, "d", right="   ")
    add(store, owner, "a", right="七天内可以退，请联系客服")
    examples = store.corrections.examples(LOCAL, owner)
    assert [one["messages"][1:] for one in examples] == [
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": "七天内可以退，请联系客服"}],
        [{"role": "user", "content": "b"}, {"role": "assistant", "content": "好的"}],
    ]
    assert store.corrections.counts([owner]) == {owner: {"rows": 5, "corrected": 3, "up": 1, "down": 1}}


def test_a_correction_is_changed_and_removed(store: Store) -> None:
    owner = store.corrections.create(LOCAL, "x").id
    one = add(store, owner)
    store.corrections.change(LOCAL, one, {"right": "可以", "thumb": "down", "model": "not changeable"})
    row = store.corrections.correction(LOCAL, one)
    assert (row.right, row.thumb, row.model, row.note) == ("可以", "down", "", "")
    store.corrections.change(LOCAL, one, {"right": None})
    assert store.corrections.correction(LOCAL, one).right is None
    other = add(store, owner, "b")
    store.corrections.remove(LOCAL, one)
    assert [row.id for row in store.corrections.rows(LOCAL, owner).rows] == [other]
    assert store.corrections.rows(LOCAL, owner, after=one).rows == []
    store.corrections.delete(LOCAL, owner)
    assert store.corrections.list(LOCAL).rows == []
    for call in (store.corrections.correction, store.corrections.remove):
        with pytest.raises(StoreError) as refused:
            call(LOCAL, other)
        assert refused.value.code == "correction_not_found"


def test_a_full_set_takes_no_more(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST", 2)
    owner = store.corrections.create(LOCAL, "x").id
    add(store, owner)
    add(store, owner)
    with pytest.raises(StoreError) as refused:
        add(store, owner)
    assert refused.value.code == "set_full"


def test_another_project_finds_nothing(store: Store) -> None:
    owner = store.corrections.create(LOCAL, "x").id
    one = add(store, owner)
    for call in (
        lambda: store.corrections.get("proj_b", owner), lambda: store.corrections.rows("proj_b", owner),
        lambda: store.corrections.examples("proj_b", owner), lambda: store.corrections.models("proj_b", owner),
        lambda: store.corrections.delete("proj_b", owner),
        lambda: store.corrections.add("proj_b", owner, messages=[], answer="", by=""),
        lambda: store.corrections.change("proj_b", one, {"right": "x"}),
        lambda: store.corrections.remove("proj_b", one),
    ):  # fmt: skip
        with pytest.raises(StoreError) as refused:
            call()
        assert refused.value.code in ("set_not_found", "correction_not_found")
