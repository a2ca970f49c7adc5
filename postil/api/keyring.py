"""Keys and models from the command line, for whoever can read the store's directory: no server need run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from postil.jobs import register
from postil.store import LOCAL, Store, open_store

if TYPE_CHECKING:
    from postil.records import Adapter
    from postil.store.tables import Key


def list_keys() -> list[dict[str, Any]]:
    """All keys, oldest first, without their secrets."""
    with _store() as store:
        return [_shown(key) for key in store.keys.list()]


def add_key(project: str, name: str, scopes: Sequence[str], requests_per_minute: int | None,
            tokens_per_day: int | None, quota_bytes: int | None) -> dict[str, Any]:  # fmt: skip
    """A new key with its secret. `quota_bytes`: of its project. Raises StoreError `unknown_scope`."""
    with _store() as store:
        key, secret = store.keys.create(project, name, scopes, requests_per_minute=requests_per_minute,
                                        tokens_per_day=tokens_per_day)  # fmt: skip
        if quota_bytes:
            store.keys.set_quota(project, quota_bytes)
        return {**_shown(key), "secret": secret}


def revoke_key(key_id: str) -> dict[str, Any]:
    """From now on it opens nothing. Raises StoreError `key_not_found`."""
    with _store() as store:
        return _shown(store.keys.revoke(key_id))


def add_model(adapter: Adapter, suffix: str | None, project: str = LOCAL) -> dict[str, Any]:
    """Name an adapter, so that it can be called over HTTP. Raises ModelError `base_unnamed`."""
    with _store() as store:
        made = register(store, project, adapter, suffix)
        return {"name": made.id, "base": made.base, "live": made.live, "path": str(store.directory / made.directory)}


@contextmanager
def _store() -> Iterator[Store]:
    store = open_store()
    try:
        yield store
    finally:
        store.close()


def _shown(key: Key) -> dict[str, Any]:
    return {"id": key.id, "project": key.project, "name": key.name, "scopes": list(key.scopes),
            "state": "revoked" if key.revoked_at else "active", "requests_per_minute": key.requests_per_minute,
            "tokens_per_day": key.tokens_per_day, "created_at": key.created_at}  # fmt: skip
