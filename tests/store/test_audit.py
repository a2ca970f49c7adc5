"""Who did what stands beside what was done: in one transaction, without secrets, and bounded."""

from __future__ import annotations

from typing import Any

import pytest

from postil.errors import StoreError
from postil.store import LOCAL, Actor, Store, audit
from postil.store.audit import acting

ANN = Actor("key_ann", "Ann", LOCAL, "10.0.0.7")


def acts(store: Store, project: str = LOCAL) -> list[tuple[str, str, str]]:
    return [(row.act, row.key_id, row.object) for row in store.audit.list(project, limit=1000).rows]


def test_a_line_says_who_when_what_and_from_where(store: Store) -> None:
    with acting(ANN):
        store.lines.set(LOCAL, "after-sales", "m1", ANN.key_id, "better")
    line = store.audit.list(LOCAL, act="line_set").rows[0]
    assert (line.key_id, line.key_name, line.address, line.object) == ("key_ann", "Ann", "10.0.0.7", "after-sales")
    assert line.reason == "m1 better" and line.times == 1 and line.created_at == line.last_at > 0
    store.keys.create("proj_other", "k", ["read"])
    assert {act for act, _, _ in acts(store)} == {"line_set"}
    assert store.audit.list().rows[0].project == "proj_other"


def test_an_act_that_was_undone_leaves_no_line(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise StoreError("storage_full")

    monkeypatch.setattr("postil.store.keys.record", fails)
    with pytest.raises(StoreError):
        store.keys.create(LOCAL, "k", ["read"])
    assert store.keys.list(LOCAL) == []


def test_the_same_again_is_counted_and_pushes_nothing_out(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with acting(ANN):
        for _ in range(50):
            store.audit.note("downloaded", "file-1")
        store.audit.note("downloaded", "file-2")
    assert [(row.object, row.times) for row in store.audit.list(LOCAL).rows] == [("file-2", 1), ("file-1", 50)]
    later = audit.now() + audit.SAME_SECONDS + 1
    monkeypatch.setattr(audit, "now", lambda: later)
    with acting(ANN):
        store.audit.note("downloaded", "file-1")
    assert store.audit.list(LOCAL).rows[0].times == 1


def test_lines_are_bounded_in_age_and_number_by_project(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, most in (("MOST_LINES", 10), ("MOST_REFUSED", 3), ("SWEEP_EVERY", 1)):
        monkeypatch.setattr(audit, name, most)
    store.keys.create("proj_quiet", "k", ["read"])
    with acting(ANN):
        for i in range(5):
            store.audit.note("downloaded", f"file-{i}")
        for i in range(20):
            store.audit.note("sign_in_refused", f"- {i}", project=LOCAL)
        store.audit.note("downloaded", "file-9")
    assert [act for act, _, _ in acts(store)] == ["downloaded", *["sign_in_refused"] * 3, *["downloaded"] * 5]
    with acting(ANN):
        for i in range(30):
            store.audit.note("downloaded", f"more-{i}")
    assert len(acts(store)) == 10
    assert len(acts(store, "proj_quiet")) == 1
    later = audit.now() + audit.KEPT_SECONDS + 10
    monkeypatch.setattr(audit, "now", lambda: later)
    store.audit.note("downloaded", "last", project=LOCAL)
    assert [target for _, _, target in acts(store)] == ["last"]
    assert acts(store, "proj_quiet") == []


def test_lines_come_in_pages(store: Store) -> None:
    with acting(ANN):
        for i in range(5):
            store.audit.note("downloaded", f"file-{i}")
    first = store.audit.list(LOCAL, limit=3)
    second = store.audit.list(LOCAL, limit=3, after=first.rows[-1].id)
    assert [row.object for page in (first, second) for row in page.rows] == [f"file-{i}" for i in (4, 3, 2, 1, 0)]
    assert first.more and not second.more
    with pytest.raises(StoreError):
        store.audit.list("proj_other", after=first.rows[0].id)


def test_attack_17_no_secret_stands_in_a_line(store: Store) -> None:
    with acting(ANN):
        key, secret = store.keys.create(LOCAL, "k", ["read"])
        key, rotated = store.keys.rotate(key.id)
        cookie = store.sessions.open(key, "a")
    text = repr([vars(row) for row in store.audit.list(limit=100).rows])
    for hidden in (secret.rpartition("-")[2], rotated.rpartition("-")[2], cookie):
        assert hidden not in text
