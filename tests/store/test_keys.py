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
    "wrong", ["", "EMPTY", "sk-postil-", "sk-postil-a-b", "../../x", "x" * 100_000, "钥匙", "\ud800", "-"]
)
def test_a_wrong_key_opens_nothing(store: Store, wrong: str) -> None:
    store.keys.first()
    assert store.keys.check(wrong) is None


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
