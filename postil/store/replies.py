"""A request that is sent again has one effect: what was answered to it is remembered.

begin → (the object is made, and attached in the same transaction) → done, or forget when it was refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from postil.errors import StoreError
from postil.store.database import Database
from postil.store.ids import new_id, now
from postil.store.tables import Reply

KEPT_SECONDS = 24 * 3600
RETRY_SECONDS = 600


@dataclass(frozen=True)
class Asked:
    """A request: who sent it, where to, and the SHA-256 of its body. `token`: its Idempotency-Key, if it has one."""

    key_id: str
    method: str
    path: str
    body_sha256: str
    token: str | None = None
    is_retry: bool = False  # the client says that it sent this before


class Replies:
    """What was asked and answered within a day."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, asked: Asked) -> tuple[Reply, bool]:
        """The remembered request, and whether it is new: then it is to be carried out, with `reply=row.id`.

        When it is not new: `status` and `body` are what was answered; `status` None and an `object_id`: the object
        exists, only the answer was not sent; both None: the first is still being answered.
        Raises StoreError `idempotency_key_reused` for another body.
        """
        try:
            with self._database.write() as session:
                session.execute(delete(Reply).where(Reply.created_at < now() - KEPT_SECONDS))
                known = self._known(session, asked)
                if known is not None:
                    return known, False
                row = Reply(
                    id=new_id("reply_"), key_id=asked.key_id, method=asked.method, path=asked.path[:512],
                    token=asked.token, body_sha256=asked.body_sha256, object_id=None, status=None, body=None,
                    created_at=now(),
                )  # fmt: skip
                session.add(row)
            return row, True
        except IntegrityError:  # another server began the same one a moment ago
            with self._database.read() as session:
                again = self._known(session, asked)
            assert again is not None
            return again, False

    def done(self, reply: str, status: int, body: Mapping[str, Any]) -> None:
        """What was answered."""
        with self._database.write() as session:
            session.execute(update(Reply).where(Reply.id == reply).values(status=status, body=dict(body)))

    def forget(self, reply: str) -> None:
        """It had no effect: the next one is a new one."""
        with self._database.write() as session:
            session.execute(delete(Reply).where(Reply.id == reply))

    def _known(self, session: Session, asked: Asked) -> Reply | None:
        same = select(Reply).where(Reply.key_id == asked.key_id, Reply.method == asked.method,
                                   Reply.path == asked.path[:512]).order_by(Reply.seq.desc())  # fmt: skip
        if asked.token is not None:
            row = session.scalar(same.where(Reply.token == asked.token))
            if row is not None and row.body_sha256 != asked.body_sha256:
                raise StoreError("idempotency_key_reused")
        elif asked.is_retry:
            row = session.scalar(
                same.where(Reply.body_sha256 == asked.body_sha256, Reply.created_at > now() - RETRY_SECONDS).limit(1)
            )
        else:
            return None
        if row is not None and row.status is None and row.object_id is None and row.created_at < now() - RETRY_SECONDS:
            session.delete(row)  # its server died before it did anything
            session.flush()
            return None
        return row


def attach(session: Session, reply: str | None, object_id: str) -> None:
    """Remember, in the transaction that makes the object, which request made it."""
    if reply is not None:
        session.execute(update(Reply).where(Reply.id == reply).values(object_id=object_id))
