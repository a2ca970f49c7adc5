"""A model goes live if its evaluation or a person says so, and others use what they were permitted."""

from __future__ import annotations

import pytest

from postil.errors import StoreError
from postil.store import LOCAL, Store
from postil.store import models as room

NAME = "ft:tiny:local::abcdefgh"


def add(store: Store, name: str = NAME, outcome: str | None = None, project: str = LOCAL) -> None:
    with store.database.write() as session:
        room.add(session, project=project, name=name, base="tiny", base_sha256="b", adapter_sha256="a",
                 directory="adapters/x", result={"verdict": {"outcome": outcome}} if outcome else None)  # fmt: skip


@pytest.mark.parametrize(("outcome", "live"), [
    ("better", True), ("no_difference", True), ("too_few", True), (None, True), ("worse", False),
])  # fmt: skip
def test_a_model_that_got_worse_is_held(store: Store, outcome: str | None, live: bool) -> None:
    add(store, outcome=outcome)
    assert store.models.get(LOCAL, NAME).live is live
    log = store.models.log(LOCAL, NAME)
    assert [(one.action, one.by, one.reason) for one in log] == [
        ("released" if live else "held", "evaluation", outcome or "not_evaluated")
    ]


@pytest.mark.parametrize(("outcome", "level", "live", "reason"), [
    ("better", "ready", True, "better"), ("better", "try_out", True, "better"), ("better", "not_yet", False, "not_yet"),
    ("too_few", "not_yet", False, "not_yet"), ("worse", "not_yet", False, "worse"), ("worse", "ready", False, "worse"),
])  # fmt: skip
def test_a_model_whose_answers_cannot_be_used_is_held_however_much_better_it_is(
    store: Store, outcome: str, level: str, live: bool, reason: str
) -> None:
    result = {"verdict": {"outcome": outcome}, "readiness": {"level": level}, "forgetting": 0.3}
    with store.database.write() as session:
        room.add(session, project=LOCAL, name=NAME, base="tiny", base_sha256="b", adapter_sha256="a",
                 directory="adapters/x", result=result)  # fmt: skip
    model = store.models.get(LOCAL, NAME)
    assert model.live is live and [one.reason for one in store.models.log(LOCAL, NAME)] == [reason]
    kept = {"outcome": outcome, "readiness": {"level": level}, "forgetting": 0.3}
    assert model.verdict == kept, "whoever releases it later is told the same"


def test_a_person_overrides_and_it_is_logged(store: Store) -> None:
    add(store, outcome="worse")
    assert store.models.allow(LOCAL, NAME, "key_1", "only for a test").live
    assert store.models.allow(LOCAL, NAME, "key_1", "again").live
    assert not store.models.withdraw(LOCAL, NAME, "key_2", "complaints").live
    assert [(one.action, one.by) for one in store.models.log(LOCAL, NAME)] == [
        ("held", "evaluation"), ("overridden", "key_1"), ("withdrawn", "key_2"),
    ]  # fmt: skip


def test_another_project_sees_a_model_only_when_it_is_permitted(store: Store) -> None:
    add(store)
    for call in (store.models.get, store.models.log):
        with pytest.raises(StoreError, match="ft:tiny"):
            call("proj_b", NAME)
    first = store.models.permit(LOCAL, NAME, ["proj_b", "proj_c", "proj_b"])
    assert [row.project for row in first] == ["proj_b", "proj_c"]
    assert [row.id for row in store.models.permit(LOCAL, NAME, ["proj_b"])] == [first[0].id]
    assert store.models.get("proj_b", NAME).id == NAME and [m.id for m in store.models.list("proj_b")] == [NAME]
    for call in (store.models.delete, store.models.allow, store.models.withdraw):
        with pytest.raises(StoreError):
            call("proj_b", NAME, *(["k"] if call == store.models.delete else ["k", "why"]))
    page = store.models.permissions(LOCAL, NAME, limit=1)
    assert page.more and page.rows[0].project == "proj_c"
    store.models.forbid(LOCAL, NAME, page.rows[0].id)
    assert [row.project for row in store.models.permissions(LOCAL, NAME, after=page.rows[0].id).rows] == ["proj_b"]
    store.models.forbid(LOCAL, NAME, first[0].id)
    with pytest.raises(StoreError):
        store.models.get("proj_b", NAME)
    with pytest.raises(StoreError) as error:
        store.models.forbid(LOCAL, NAME, first[0].id)
    assert error.value.code == "permission_not_found"


def test_a_deleted_model_is_gone(store: Store) -> None:
    add(store)
    store.models.delete(LOCAL, NAME, "key_1")
    assert store.models.list(LOCAL) == []
    with pytest.raises(StoreError) as error:
        store.models.delete(LOCAL, NAME, "key_1")
    assert error.value.code == "model_not_found"


def test_a_name_that_was_given_anew_can_go_again(store: Store) -> None:
    """A checkpoint that a later attempt saves once more has the name that it had."""
    places = []
    for _ in range(2):
        add(store)
        places.append(store.models.get(LOCAL, NAME).seq)
        store.models.delete(LOCAL, NAME, "key_1")
    add(store, "ft:tiny:local::another")
    assert places[1] >= places[0]
    assert [one.id for one in store.models.list(LOCAL)] == ["ft:tiny:local::another"]
