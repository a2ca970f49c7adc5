"""Browsers that have signed in. A session is a row: signing out, revoking the key or time ends it here, not in the
browser."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from contextlib import suppress

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.orm import Session

from postil.errors import StoreError
from postil.store.audit import Actor, acting, record
from postil.store.database import Database
from postil.store.tables import Key, WebSession

IDLE_SECONDS = 7 * 24 * 3600
LIFE_SECONDS = 30 * 24 * 3600
TOUCH_SECONDS = 300  # it is written down this often, at most, that a session is in use
MOST_OF_KEY = 100  # beyond these the oldest ends


class WebSessions:
    """The sessions of all keys. `clock`: Unix seconds."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database, self._clock = database, clock

    def open(self, key: Key, address: str) -> str:
        """A new session of this key. Returns what its cookie says; only a hash of it is kept.

        Raises StoreError `key_revoked` when the secret that opened it was rotated or revoked meanwhile.
        """
        cookie, at = secrets.token_urlsafe(32), int(self._clock())
        with self._database.write() as session:
            same = select(Key.id).where(Key.id == key.id, Key.digest == key.digest, Key.revoked_at.is_(None))
            if session.scalar(same.with_for_update()) is None:
                raise StoreError("key_revoked", key=key.id)
            session.execute(delete(WebSession).where(_over(at)))
            own = select(WebSession).where(WebSession.key_id == key.id).order_by(WebSession.created_at.desc())
            for oldest in session.scalars(own.offset(MOST_OF_KEY - 1)):
                session.delete(oldest)
            session.add(WebSession(digest=_digest(cookie), key_id=key.id, created_at=at, seen_at=at))
            with acting(Actor(key.id, key.name, key.project, address)):
                record(session, "signed_in", key.id)
        return cookie

    def key(self, cookie: str) -> Key | None:
        """Whose session this is, unless it has ended."""
        at, digest = int(self._clock()), _digest(cookie)
        query = select(Key, WebSession.seen_at).join(WebSession, WebSession.key_id == Key.id)
        with self._database.read() as session:
            found = session.execute(query.where(WebSession.digest == digest, ~_over(at), Key.revoked_at.is_(None)))
            row = found.first()
        if row is None:
            return None
        if at - row.seen_at >= TOUCH_SECONDS:
            self._touch(digest, at)
        key: Key = row[0]
        return key

    def _touch(self, digest: str, at: int) -> None:
        """A database that cannot be written now keeps nobody out: the next request writes it down."""
        with suppress(StoreError), self._database.write() as session:
            session.execute(update(WebSession).where(WebSession.digest == digest).values(seen_at=at))

    def end(self, cookie: str, address: str) -> None:
        """Sign out: the cookie opens nothing any more, wherever a copy of it lies."""
        query = select(WebSession, Key).join(Key, Key.id == WebSession.key_id)
        with self._database.write() as session:
            row = session.execute(query.where(WebSession.digest == _digest(cookie))).first()
            if row is None:
                return
            session.delete(row[0])
            with acting(Actor(row[1].id, row[1].name, row[1].project, address)):
                record(session, "signed_out", row[1].id)


def end_all(session: Session, key_id: str) -> None:
    """In the transaction that revokes or rotates a key."""
    session.execute(delete(WebSession).where(WebSession.key_id == key_id))


def _over(at: int) -> ColumnElement[bool]:
    return (WebSession.seen_at < at - IDLE_SECONDS) | (WebSession.created_at < at - LIFE_SECONDS)


def _digest(cookie: str) -> str:
    """Enough for 256 random bits: there is nothing to guess."""
    return hashlib.sha256(cookie.encode("utf-8", "replace")).hexdigest()
