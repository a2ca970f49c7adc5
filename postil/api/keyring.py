"""Keys, models and the audit from the command line, for whoever can read the store's directory: no server need run."""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from postil.api.studio.audit import audit_object
from postil.jobs import register
from postil.store import COMMAND_LINE, LOCAL, Actor, Store, act_as, open_store

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


def rotate_any_key(key_id: str) -> dict[str, Any]:
    """The same key with another secret. Raises StoreError `key_not_found`, `key_revoked`."""
    with _store() as store:
        key, secret = store.keys.rotate(key_id)
        return {**_shown(key), "secret": secret}


def revoke_any_key(key_id: str, *, with_made: bool = False) -> dict[str, Any]:
    """From now on it opens nothing, nor, `with_made`, do the keys made with it. Raises StoreError `key_not_found`."""
    with _store() as store:
        return _shown(store.keys.revoke(key_id, with_made=with_made))


def list_audit(project: str | None, act: str | None, limit: int) -> list[dict[str, Any]]:
    """Who did what, newest first, in one project or in all."""
    with _store() as store:
        rows = store.audit.list(project, act=act, limit=limit).rows
        return [audit_object(row).model_dump(mode="json") for row in rows]


def add_model(adapter: Adapter, suffix: str | None, project: str = LOCAL) -> dict[str, Any]:
    """Name an adapter, so that it can be called over HTTP. Raises ModelError `base_unnamed`."""
    with _store() as store:
        made = register(store, project, adapter, suffix)
        return {"name": made.id, "base": made.base, "live": made.live, "path": str(store.directory / made.directory)}


@contextmanager
def _store() -> Iterator[Store]:
    store = open_store()
    act_as(Actor(COMMAND_LINE, _login()))
    try:
        yield store
    finally:
        store.close()


def _login() -> str:
    """Who sits at the machine, as the system calls them."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container without names
        return "-"


def _shown(key: Key) -> dict[str, Any]:
    return {"id": key.id, "project": key.project, "name": key.name, "scopes": list(key.scopes),
            "state": "revoked" if key.revoked_at else "active", "requests_per_minute": key.requests_per_minute,
            "tokens_per_day": key.tokens_per_day, "made_by": key.made_by, "created_at": key.created_at,
            "rotated_at": key.rotated_at}  # fmt: skip
