"""Data sets: versions that are never altered, of one project alone."""

from __future__ import annotations

import threading

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
    assert store.datasets.get(LOCAL, first.id).reading == {"edits": {"B7": "x"}}
    assert store.datasets.newest(LOCAL, first.id).id == second.id


def test_nobody_writes_over_a_version_that_they_have_not_seen(store: Store) -> None:
    first = store.datasets.create(LOCAL, "话术", file(store), {})
    hers = store.datasets.revise(LOCAL, first.id, reading={"edits": {"B7": "hers"}})
    with pytest.raises(StoreError) as refused:
        store.datasets.revise(LOCAL, first.id, reading={"edits": {"B8": "mine"}})
    assert refused.value.code == "dataset_stale"
    assert refused.value.values["newest"] == hers.id and hers.id in refused.value.remedy("en")
    assert store.datasets.newest(LOCAL, first.id).reading == {"edits": {"B7": "hers"}}
    again = store.datasets.revise(LOCAL, first.id, reading={"edits": {"B7": "hers"}})
    assert again.id == hers.id  # the same request, sent once more
    both = {"edits": {"B7": "hers", "B8": "mine"}}
    assert store.datasets.revise(LOCAL, hers.id, reading=both).version == 3


def test_of_those_who_revise_at_once_every_one_is_told_or_kept(store: Store) -> None:
    first = store.datasets.create(LOCAL, "话术", file(store), {})
    stale: list[int] = []

    def revise(row: int) -> None:
        try:
            store.datasets.revise(LOCAL, first.id, reading={"without": [row]})
        except StoreError as error:
            assert error.code == "dataset_stale"
            stale.append(row)

    threads = [threading.Thread(target=revise, args=(row,)) for row in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    versions = store.datasets.versions(LOCAL, first.id)
    assert [one.version for one in versions] == [1, 2] and [one.newest for one in versions] == [False, True]
    assert sorted([*stale, *versions[-1].reading["without"]]) == list(range(1, 7))


def test_a_file_of_a_data_set_stays_until_the_data_set_goes(store: Store) -> None:
    uploaded = file(store)
    made = store.datasets.create(LOCAL, "话术", uploaded, {})
    with pytest.raises(StoreError) as refused:
        store.files.delete(LOCAL, uploaded)
    assert refused.value.code == "file_in_dataset" and refused.value.values["name"] == "话术"
    store.datasets.delete(LOCAL, made.id)
    store.files.delete(LOCAL, uploaded)


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
    delete = store.datasets.delete
    for act in (store.datasets.get, store.datasets.versions, delete, store.datasets.revise):
        with pytest.raises(StoreError) as refused:
            act("proj_other", made.id)
        assert refused.value.code == "dataset_not_found"
    with pytest.raises(StoreError) as refused:
        store.datasets.create("proj_other", "话术", made.file_id, {})
    assert refused.value.code == "file_not_found"
