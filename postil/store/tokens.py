"""The tokens that keys may use in a day. They are booked before an answer begins and settled when it has ended.

The sum stands in the database, so that it holds for answers at the same time, over restarts, and for all servers on one
database. What a server has booked and never settled, because it died, stays counted for that day: a limit may be
reached too early, never passed. A day begins at 00:00 UTC.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from postil.errors import StoreError
from postil.store.database import Database
from postil.store.tables import TokenDay

KEPT_DAYS = 40


@dataclass(frozen=True)
class Booked:
    """Tokens that were set aside, on a day, of each of these keys."""

    keys: tuple[str, ...]
    day: int
    tokens: int


class Tokens:
    """The days of all keys. `clock`: Unix seconds."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database, self._clock = database, clock

    def book(self, limits: Iterable[Mapping[str, Any]], least: int, most: int) -> Booked:
        """Set aside up to `most` tokens, and no fewer than `least`, of every key in `limits` (see Key.limits).

        Raises StoreError `insufficient_quota` when the day has no room for `least`, and `tokens_booked` when it will
        have as soon as answers that are under way have ended.
        """
        bound = {str(one["key"]): int(one["tokens_per_day"]) for one in limits if one["tokens_per_day"] is not None}
        keys, day = tuple(sorted(bound)), int(self._clock() // 86_400)
        if not keys:
            return Booked((), day, most)
        with self._database.write() as session:
            rows = self._rows(session, keys, day)
            for row in rows:
                _check(row, bound[row.key_id], least)
            tokens = min(most, *(bound[row.key_id] - row.used - row.booked for row in rows))
            for row in rows:
                row.booked += tokens
        return Booked(keys, day, tokens)

    def settle(self, booked: Booked, used: int) -> None:
        """What an answer really took, in place of what was booked for it."""
        if not booked.keys:
            return
        own = (TokenDay.key_id.in_(booked.keys), TokenDay.day == booked.day)
        with self._database.write() as session:
            session.execute(
                update(TokenDay).where(*own).values(used=TokenDay.used + used, booked=TokenDay.booked - booked.tokens)
            )

    def spend(self, limits: Iterable[Mapping[str, Any]], tokens: int) -> None:
        """Count what will be used later, by a job of its own. Raises what `book` does."""
        self.settle(self.book(limits, tokens, tokens), tokens)

    def today(self, keys: Sequence[str]) -> dict[str, int]:
        """What each of these keys has used and booked today; those without a limit are not counted."""
        own = (TokenDay.key_id.in_(keys), TokenDay.day == int(self._clock() // 86_400))
        with self._database.read() as session:
            return {row.key_id: row.used + row.booked for row in session.scalars(select(TokenDay).where(*own))}

    def _rows(self, session: Session, keys: Sequence[str], day: int) -> Sequence[TokenDay]:
        """Locked, always in the same order, so that two that share makers do not wait for each other."""
        insert: Any = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
        for key in keys:
            begun = insert(TokenDay).values(key_id=key, day=day, used=0, booked=0).on_conflict_do_nothing()
            if session.scalar(begun.returning(TokenDay.key_id)):  # its first today
                session.execute(delete(TokenDay).where(TokenDay.key_id == key, TokenDay.day < day - KEPT_DAYS))
        own = (TokenDay.key_id.in_(keys), TokenDay.day == day)
        return session.scalars(select(TokenDay).where(*own).order_by(TokenDay.key_id).with_for_update()).all()


def _check(row: TokenDay, most: int, least: int) -> None:
    left = max(0, most - row.used)
    if left < least:
        raise StoreError("insufficient_quota", most=most, left=left, needed=least)
    if left - row.booked < least:
        raise StoreError("tokens_booked", most=most, booked=row.booked, needed=least)
