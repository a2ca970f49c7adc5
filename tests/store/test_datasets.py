"""Data sets: versions that are never altered, of one project alone."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from postil.errors import StoreError
from postil.store import LOCAL, Store
from postil.store.keys import ensure_project


def file(store: Store, content: bytes = b"a,b\n1,2\n") -> str:
    with store.files.incoming() as made:
        made.write(content)
        return store.files.keep(LOCAL, "a.csv", "fine-tune", made).id


def test_versions_follow_each_other(store: Store) -> None:
    first = store.datasets.create(LOCAL, "话术", file(store), {"edits": {"B7": "x"}}, {"examples": 12})
    second = store.datasets.revise(LOCAL, first.id, reading={"edits": {"B7": "y"}}, facts={"examples": 11})
    assert (first.version, second.version, second.parent, second.family) == (1, 2, first.id, first.id)
    assert (second.name, second.file_id) == (first.name, first.file_id)
    assert [one.id for one in store.datasets.versions(LOCAL, first.id)] == [first.id, second.id]
    assert [one.id for one in store.datasets.list(LOCAL).rows] == [second.id]
    branch = store.datasets.revise(LOCAL, first.id, reading={})
    assert (branch.version, branch.parent) == (3, first.id)
    assert store.datasets.get(LOCAL, first.id).reading == {"edits": {"B7": "x"}}


def test_two_who_revise_at_once_make_two_versions(store: Store) -> None:
    first = store.datasets.create(LOCAL, "话术", file(store), {})
    revise = partial(store.datasets.revise, LOCAL, first.id)
    threads = [threading.Thread(target=partial(revise, reading={"without": [n]})) for n in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    versions = store.datasets.versions(LOCAL, first.id)
    assert [one.version for one in versions] == list(range(1, 8))
    assert [one.newest for one in versions] == [False] * 6 + [True]


def test_the_same_again_is_the_same_version(store: Store) -> None:
    first = store.datasets.create(LOCAL, "话术", file(store), {"without": [3]})
    assert store.datasets.revise(LOCAL, first.id, reading={"without": [3]}).id == first.id
    assert len(store.datasets.versions(LOCAL, first.id)) == 1


def test_a_name_is_that_of_all_versions_and_all_go_together(store: Store) -> None:
    first = store.datasets.create(LOCAL, "话术", file(store), {})
    second = store.datasets.revise(LOCAL, first.id, reading={"mask": True})
    store.datasets.rename(LOCAL, first.id, "新话术")
    assert {one.name for one in store.datasets.versions(LOCAL, second.id)} == {"新话术"}
    store.datasets.delete(LOCAL, second.id)
    assert not store.datasets.list(LOCAL).rows
    with pytest.raises(StoreError) as refused:
        store.datasets.get(LOCAL, first.id)
    assert refused.value.code == "dataset_not_found"
    assert store.datasets.list(LOCAL, after=second.id).rows == []  # a page may go on after it


def test_another_project_sees_none(store: Store) -> None:
    made = store.datasets.create(LOCAL, "话术", file(store), {})
    with store.database.write() as session:
        ensure_project(session, "proj_other")
    assert not store.datasets.list("proj_other").rows
    for act in (store.datasets.get, store.datasets.versions, store.datasets.delete, store.datasets.revise):
        with pytest.raises(StoreError) as refused:
            act("proj_other", made.id)
        assert refused.value.code == "dataset_not_found"
    with pytest.raises(StoreError) as refused:
        store.datasets.create("proj_other", "话术", made.file_id, {})
    assert refused.value.code == "file_not_found"
