"""Evaluation sets keep a file of their own; what another project has does not exist."""

from __future__ import annotations

import pytest

from postil.errors import StoreError
from postil.store import LOCAL, Store
from postil.store.keys import ensure_project
from postil.store.tables import EvaluationSet, File


def kept(store: Store, name: str = "售后 100 问", data: bytes = b'{"messages": []}\n') -> EvaluationSet:
    with store.files.incoming() as made:
        made.write(data)
        return store.sets.create(LOCAL, name, "file", "file-1", made, 1)


def test_a_set_has_a_file_and_both_go_together(store: Store) -> None:
    row = kept(store)
    file = store.files.get(LOCAL, row.file_id)
    assert (file.filename, file.purpose) == ("售后 100 问.jsonl", "evals")
    assert store.files.open(file).read() == b'{"messages": []}\n'
    store.sets.delete(LOCAL, row.id)
    for call in (lambda: store.sets.get(LOCAL, row.id), lambda: store.sets.delete(LOCAL, row.id)):
        with pytest.raises(StoreError) as refused:
            call()
        assert refused.value.code == "set_not_found"
    with pytest.raises(StoreError) as refused:
        store.files.get(LOCAL, row.file_id)
    assert refused.value.code == "file_not_found"


def test_a_file_of_a_set_goes_with_the_set_alone(store: Store) -> None:
    row = kept(store)
    with pytest.raises(StoreError) as refused:
        store.files.delete(LOCAL, row.file_id)
    assert refused.value.code == "file_in_set" and row.name in refused.value.remedy("en")
    store.sets.delete(LOCAL, row.id)
    assert store.files.list(LOCAL).rows == []


def test_a_set_whose_file_is_gone_can_still_be_deleted(store: Store) -> None:
    row = kept(store)
    with store.database.write() as session:  # as an older version of ours could leave it
        session.query(File).filter_by(id=row.file_id).delete()
    store.sets.delete(LOCAL, row.id)
    assert store.sets.list(LOCAL).rows == []


def test_an_empty_set_is_refused(store: Store) -> None:
    with pytest.raises(StoreError) as refused:
        kept(store, data=b"")
    assert refused.value.code == "empty_file"


def test_sets_are_listed_newest_first_and_only_to_their_project(store: Store) -> None:
    with store.database.write() as session:
        ensure_project(session, "proj_b")
    ids = [kept(store, str(i)).id for i in range(3)]
    first = store.sets.list(LOCAL, limit=2)
    assert [row.id for row in first.rows] == ids[:0:-1] and first.more
    store.sets.delete(LOCAL, ids[1])
    assert [row.id for row in store.sets.list(LOCAL, after=ids[1]).rows] == [ids[0]]
    assert store.sets.list("proj_b").rows == []
    with pytest.raises(StoreError):
        store.sets.get("proj_b", ids[0])
    with pytest.raises(StoreError):
        store.sets.delete("proj_b", ids[0])
