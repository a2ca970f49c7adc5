"""A business line has one model at a time, and every change of it is remembered and can be taken back."""

from __future__ import annotations

from functools import partial

import pytest

from postil.errors import StoreError
from postil.store import LOCAL, Store
from postil.store.keys import ensure_project
from tests.store.test_models import add


def test_switch_and_roll_back_as_far_as_it_goes(store: Store) -> None:
    assert store.lines.set(LOCAL, "after-sales", "m1", "key_1", "first", "售后").title == "售后"
    store.lines.set(LOCAL, "line:after-sales", "m2", "key_1", "better")
    store.lines.set(LOCAL, "after-sales", "m2", "key_1", "again")
    store.lines.set(LOCAL, "after-sales", "m3", "key_2", "better still")
    assert store.lines.roll_back(LOCAL, "after-sales", "key_2", "complaints").model == "m2"
    assert store.lines.roll_back(LOCAL, "after-sales", "key_2", "more").model == "m1"
    with pytest.raises(StoreError) as refused:
        store.lines.roll_back(LOCAL, "after-sales", "key_2", "no further")
    assert refused.value.code == "nothing_before"
    store.lines.set(LOCAL, "after-sales", "m4", "key_1", "new")
    assert store.lines.roll_back(LOCAL, "after-sales", "key_1", "back").model == "m1"
    log = store.lines.log(LOCAL, "after-sales")
    assert [(one.action, one.model) for one in log] == [
        ("set", "m1"), ("set", "m2"), ("set", "m3"), ("rolled_back", "m2"), ("rolled_back", "m1"), ("set", "m4"),
        ("rolled_back", "m1"),
    ]  # fmt: skip
    assert (store.lines.get(LOCAL, "after-sales").title, log[0].by, log[0].reason) == ("售后", "key_1", "first")


def test_lines_of_projects_are_apart(store: Store) -> None:
    with store.database.write() as session:
        ensure_project(session, "proj_b")
    store.lines.set(LOCAL, "sales", "m1", "k", "")
    store.lines.set("proj_b", "sales", "m2", "k", "")
    assert [row.model for row in store.lines.list("proj_b")] == ["m2"]
    store.lines.delete("proj_b", "sales", "key_1")
    for call in (store.lines.get, store.lines.log, partial(store.lines.delete, by="key_1")):
        with pytest.raises(StoreError) as refused:
            call("proj_b", "sales")
        assert refused.value.code == "line_not_found"
    assert store.lines.get(LOCAL, "sales").model == "m1"


def test_a_model_that_answers_for_a_line_is_not_deleted(store: Store) -> None:
    add(store)
    store.lines.set(LOCAL, "sales", "ft:tiny:local::abcdefgh", "k", "")
    with pytest.raises(StoreError) as refused:
        store.models.delete(LOCAL, "ft:tiny:local::abcdefgh", "k")
    assert refused.value.code == "model_on_line"
    store.lines.delete(LOCAL, "sales", "key_1")
    store.models.delete(LOCAL, "ft:tiny:local::abcdefgh", "k")


def test_a_note_stands_beside_a_model_and_goes_with_it(store: Store) -> None:
    add(store)
    name = "ft:tiny:local::abcdefgh"
    assert store.models.note(LOCAL, name) is None
    store.models.set_note(LOCAL, name, "十一月的数据", "key_1")
    store.models.set_note(LOCAL, name, "十一月的数据，语气好", "key_2")
    note = store.models.note(LOCAL, name)
    assert note is not None and (note.text, note.by) == ("十一月的数据，语气好", "key_2")
    with pytest.raises(StoreError):
        store.models.set_note("proj_b", name, "x", "k")
    store.models.delete(LOCAL, name, "key_1")
    add(store)
    assert store.models.note(LOCAL, name) is None
