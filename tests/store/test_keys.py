"""A key opens its project until it is revoked; its secret is nowhere."""

from __future__ import annotations

import pytest

from postil.errors import StoreError
from postil.store import LOCAL, Store


def test_the_first_key_is_shown_once(store: Store) -> None:
    secret = store.keys.first()
    assert secret is not None and secret.startswith("sk-postil-") and len(secret) > 80
    assert store.keys.first() is None
    key = store.keys.check(secret)
    assert key is not None and key.project == LOCAL and set(key.scopes) == {"read", "train", "serve", "admin"}


def test_attack_17_the_secret_is_not_kept(store: Store) -> None:
    secret = store.keys.create(LOCAL, "k", ["read"])[1]
    half = secret.rpartition("-")[2]
    for path in store.directory.rglob("postil.db*"):
        assert half.encode() not in path.read_bytes()
    assert half not in repr([vars(key) for key in store.keys.list()])


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "EMPTY",
        "sk-postil-",
        "sk-postil-a-b",
        "../../x",
        "x" * 100_000,
        "钥匙",
        "\ud800",
        "-",
        "sk-postil-a\0-b",
        "sk-postil-\ud800-b",
    ],
)
def test_a_wrong_key_opens_nothing(store: Store, wrong: str) -> None:
    store.keys.first()
    assert store.keys.check(wrong) is None
    assert store.keys.project_of(wrong) == LOCAL


def test_a_key_with_another_secret_opens_nothing(store: Store) -> None:
    (_, one), (_, other) = store.keys.create(LOCAL, "a", ["read"]), store.keys.create(LOCAL, "b", ["read"])
    assert store.keys.check(one.rpartition("-")[0] + "-" + other.rpartition("-")[2]) is None


def test_a_revoked_key_opens_nothing(store: Store) -> None:
    key, secret = store.keys.create("proj_team", "k", ["read", "serve"], requests_per_minute=60)
    found = store.keys.check(secret)
    assert found is not None and (found.project, found.scopes, found.requests_per_minute) == (
        "proj_team", ["read", "serve"], 60,
    )  # fmt: skip
    assert store.keys.revoke(key.id).revoked_at
    assert store.keys.check(secret) is None
    assert [one.id for one in store.keys.list("proj_team")] == [key.id]


def test_an_unknown_scope_or_key_is_refused(store: Store) -> None:
    for scopes in (["root"], []):
        with pytest.raises(StoreError) as error:
            store.keys.create(LOCAL, "k", scopes)
        assert error.value.code == "unknown_scope"
    with pytest.raises(StoreError) as error:
        store.keys.revoke("key_none")
    assert error.value.code == "key_not_found"


def test_attack_28_a_key_makes_none_with_more_than_it_has(store: Store) -> None:
    maker = store.keys.create(LOCAL, "m", ["admin"], requests_per_minute=10, tokens_per_day=1000)[0]
    for wanted in ({"requests_per_minute": 11}, {"tokens_per_day": 1001}):
        with pytest.raises(StoreError) as error:
            store.keys.create(LOCAL, "k", ["serve"], maker=maker, **wanted)
        assert error.value.code == "key_beyond"
    child = store.keys.create(LOCAL, "k", ["serve"], tokens_per_day=10, maker=maker)[0]
    assert (child.requests_per_minute, child.tokens_per_day, child.made_by) == (10, 10, maker.id)
    assert [limit["key"] for limit in child.limits] == [child.id, maker.id]


def test_attack_28_a_limited_key_takes_over_no_key_with_more(store: Store) -> None:
    limited = store.keys.create(LOCAL, "m", ["admin"], tokens_per_day=1000)[0]
    free, _ = store.keys.create(LOCAL, "free", ["admin"])
    child = store.keys.create(LOCAL, "k", ["serve"], maker=limited)[0]
    with pytest.raises(StoreError) as error:
        store.keys.rotate(free.id, limited)
    assert error.value.code == "key_beyond_limits"
    for key in (limited, child):
        assert store.keys.rotate(key.id, limited)[0].id == key.id
    assert store.keys.rotate(limited.id, free)


def test_a_rotated_key_has_another_secret_and_stays_itself(store: Store) -> None:
    key, old = store.keys.create(LOCAL, "k", ["serve"], tokens_per_day=5)
    assert store.keys.holds(key)
    rotated, new = store.keys.rotate(key.id)
    assert store.keys.check(old) is None and not store.keys.holds(key)
    found = store.keys.check(new)
    assert found is not None and (found.id, found.limits, found.rotated_at) == (key.id, key.limits, rotated.rotated_at)
    store.keys.revoke(key.id)
    with pytest.raises(StoreError) as error:
        store.keys.rotate(key.id)
    assert error.value.code == "key_revoked"


def test_revoking_may_take_the_keys_that_were_made_along(store: Store) -> None:
    maker = store.keys.create(LOCAL, "m", ["admin"])[0]
    child = store.keys.create(LOCAL, "c", ["admin"], maker=maker)[0]
    grandchild = store.keys.create(LOCAL, "g", ["read"], maker=child)[0]
    other = store.keys.create(LOCAL, "o", ["read"])[0]
    store.keys.revoke(maker.id)
    assert store.keys.holds(child)
    store.keys.revoke(maker.id, with_made=True)
    assert [store.keys.holds(key) for key in (child, grandchild, other)] == [False, False, True]
