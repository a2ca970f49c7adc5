"""Pages of a list that grows while it is read: each object once, however many come or go meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from postil.errors import StoreError
from postil.store.tables import Gone

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some rows in order, and whether more follow."""

    rows: Sequence[T]
    more: bool


def page(session: Session, table: Any, query: Select[T], scope: str, after: str | None, limit: int,
         *, ascending: bool = False, place: Any = None) -> Page[T]:  # fmt: skip
    """The rows of `query` after the one named `after`, newest first unless `ascending`.

    `place`: the column that orders them, `seq` if none is given. Raises StoreError `invalid_cursor` when there never
    was such an object in `scope`.
    """
    place = table.seq if place is None else place
    if after:
        start = session.scalar(query.with_only_columns(place).where(table.id == after))
        if start is None:
            start = session.scalar(
                select(Gone.place).where(Gone.id == after, Gone.kind == table.__tablename__, Gone.scope == scope)
            )
        if start is None:
            raise StoreError("invalid_cursor", cursor=after[:100])
        query = query.where(place > start if ascending else place < start)
    rows = session.scalars(query.order_by(place if ascending else place.desc()).limit(limit + 1)).all()
    return Page(rows[:limit], len(rows) > limit)


def bury(session: Session, row: Any, scope: str) -> None:
    """Delete `row`, but remember its place in the list: the last one, where a name was given anew and is gone again."""
    session.merge(Gone(id=row.id, kind=row.__tablename__, scope=scope, place=row.seq))
    session.delete(row)
