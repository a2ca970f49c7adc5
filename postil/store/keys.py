"""API keys and the projects that they open. A key is shown once; what is kept is a salted hash of its secret half."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from postil.errors import StoreError
from postil.store.audit import record
from postil.store.database import Database
from postil.store.ids import letters, now
from postil.store.sessions import end_all
from postil.store.tables import Key, Project

LIMITS = ("requests_per_minute", "tokens_per_day")
SCOPES = ("read", "train", "serve", "admin")
LOCAL = "proj_local"
PAGES = "pages"  # the name of the key that has no secret: it is reached by signing in
MOST_NAMED = 500  # keys in one question to the database
_LEAD = "sk-postil-"
_PUBLIC = re.compile(r"[a-z0-9]{1,40}\Z")


class Keys:
    """Who may do what."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def first(self) -> str | None:
        """At the very first start, the secret of a key for everything in the local project; later None."""
        with self._database.write() as session:
            if session.scalar(select(Key.seq).where(Key.name != PAGES).limit(1)):
                return None
            return _create(session, LOCAL, "first", SCOPES)[1]

    def create(self, project: str, name: str, scopes: Sequence[str], *, requests_per_minute: int | None = None,
               tokens_per_day: int | None = None, quota_bytes: int | None = None, maker: Key | None = None
               ) -> tuple[Key, str]:  # fmt: skip
        """A new key and its secret, which cannot be read again. `quota_bytes`: of the project, if it is new.

        maker: the key that it is made with; the new one draws on the same limits and has none above them.
        Raises StoreError `unknown_scope`, `key_name_taken`, `key_beyond`.
        """
        unknown = [scope for scope in scopes if scope not in SCOPES]
        if unknown or not scopes:
            raise StoreError("unknown_scope", scope=", ".join(unknown) or "-", known=", ".join(SCOPES))
        if name == PAGES:
            raise StoreError("key_name_taken", name=name)
        limits = {"requests_per_minute": requests_per_minute, "tokens_per_day": tokens_per_day}
        with self._database.write() as session:
            return _create(session, project, name, scopes, limits, quota_bytes, maker)

    def check(self, secret: str) -> Key | None:
        """The key of this secret, unless there is none or it was revoked. Takes the same time either way."""
        with self._database.read() as session:
            row = session.scalar(select(Key).where(Key.id == _named(secret)))
        salt, digest = (row.salt, row.digest) if row else ("", "")
        same = hmac.compare_digest(_digest(salt, secret.rpartition("-")[2]), digest)
        return row if row and same and row.revoked_at is None else None

    def project_of(self, secret: str) -> str:
        """The project of the key that a secret names, whether the secret is right or not; else the local one."""
        with self._database.read() as session:
            return session.scalar(select(Key.project).where(Key.id == _named(secret))) or LOCAL

    def current(self, key: Key) -> Key | None:
        """The key as it is now, unless it was revoked, or its secret rotated, since it came in."""
        same = select(Key).where(Key.id == key.id, Key.digest == key.digest, Key.revoked_at.is_(None))
        with self._database.read() as session:
            return session.scalar(same)

    def holds(self, key: Key) -> bool:
        """Whether the secret by which this key came in opens it still."""
        return self.current(key) is not None

    def of_pages(self) -> Key:
        """The key that stands for whoever opens the pages by the link: for everything in the local project."""
        with self._database.write() as session:
            named = select(Key).where(Key.project == LOCAL, Key.name == PAGES, Key.revoked_at.is_(None))
            row = session.scalar(named.order_by(Key.seq))
            return row or _create(session, LOCAL, PAGES, SCOPES)[0]

    def list(self, project: str | None = None) -> Sequence[Key]:
        """All keys, or those of one project, oldest first."""
        query = select(Key).order_by(Key.seq)
        with self._database.read() as session:
            return session.scalars(query.where(Key.project == project) if project else query).all()

    def rotate(self, key_id: str, maker: Key | None = None) -> tuple[Key, str]:
        """Another secret for the same key; the old one opens nothing any more, and its sessions and streams end.

        maker: with which key that is done. Raises StoreError `key_not_found`, `key_revoked`, and `key_beyond_limits`
        for a key that is not bound by the maker's limits.
        """
        secret, salt = secrets.token_hex(32), secrets.token_hex(16)
        with self._database.write() as session:
            row = _find(session, key_id)
            if row.revoked_at is not None:
                raise StoreError("key_revoked", key=row.id)
            if maker is not None and not covers(maker, row):
                raise StoreError("key_beyond_limits", key=row.id)
            row.salt, row.digest, row.rotated_at = salt, _digest(salt, secret), now()
            end_all(session, row.id)
            record(session, "key_rotated", row.id, row.name, project=row.project)
        return row, f"{_LEAD}{row.id.removeprefix('key_')}-{secret}"

    def revoke(self, key_id: str, *, with_made: bool = False) -> Key:
        """From now on it opens nothing. `with_made`: nor do the keys that were made with it, and with those.

        Raises StoreError `key_not_found`.
        """
        with self._database.write() as session:
            row = _find(session, key_id)
            for key in (row, *(_made_with(session, row) if with_made else ())):
                if key.revoked_at is None:
                    key.revoked_at = now()
                    end_all(session, key.id)
                    record(session, "key_revoked", key.id, key.name, project=key.project)
        return row

    def set_quota(self, project: str, quota_bytes: int | None) -> None:
        """How much the files of a project may take; None: no bound."""
        with self._database.write() as session:
            ensure_project(session, project)
            session.execute(update(Project).where(Project.id == project).values(quota_bytes=quota_bytes))
            record(session, "quota_set", project, "-" if quota_bytes is None else str(quota_bytes), project=project)


def covers(maker: Key, key: Key) -> bool:
    """Whether whatever `key` uses counts for `maker`, too, so that the one cannot get past its limits by the other."""
    return not maker.limits or maker.id in {limit["key"] for limit in key.limits}


def _create(session: Session, project: str, name: str, scopes: Sequence[str],
            wanted: Mapping[str, int | None] | None = None, quota: int | None = None, maker: Key | None = None
            ) -> tuple[Key, str]:  # fmt: skip
    ensure_project(session, project, quota)
    public, secret, salt = letters(12), secrets.token_hex(32), secrets.token_hex(16)
    own = {limit: _own(limit, (wanted or {}).get(limit), maker) for limit in LIMITS}
    row = Key(
        id=f"key_{public}", project=project, name=name[:100], salt=salt, digest=_digest(salt, secret),
        scopes=list(scopes), **own, made_by=maker.id if maker else None, created_at=now(), rotated_at=None,
        revoked_at=None,
    )  # fmt: skip
    bound = [{"key": row.id, **own}] if any(most is not None for most in own.values()) else []
    row.limits = [*bound, *(maker.limits if maker else ())]
    session.add(row)
    session.flush()
    record(session, "key_made", row.id, f"{row.name}: {', '.join(scopes)}", project=project)
    return row, f"{_LEAD}{public}-{secret}"


def _own(limit: str, wanted: int | None, maker: Key | None) -> int | None:
    """The limit of a new key: what is wanted for it, else what its maker has. Raises StoreError `key_beyond`."""
    bounds = [one[limit] for one in maker.limits if one[limit] is not None] if maker else []
    if bounds and wanted is not None and wanted > min(bounds):
        raise StoreError("key_beyond", parameter=limit, wanted=wanted, most=min(bounds))
    return wanted if wanted is not None else min(bounds, default=None)


def _find(session: Session, key_id: str) -> Key:
    row = session.scalar(select(Key).where(Key.id == key_id))
    if row is None:
        raise StoreError("key_not_found", key=key_id[:80])
    return row


def _named(secret: str) -> str:
    """The id of the key that a secret says it is of; nothing else of it goes to the database."""
    public = secret.rpartition("-")[0].removeprefix(_LEAD)
    return f"key_{public}" if secret.startswith(_LEAD) and _PUBLIC.match(public) else ""


def _made_with(session: Session, key: Key) -> list[Key]:
    """The keys that were made with this one, and with those."""
    made, makers = [], [key.id]
    while makers:
        later = list(session.scalars(select(Key).where(Key.made_by.in_(makers[:MOST_NAMED]))))
        made += later
        makers = [*makers[MOST_NAMED:], *(one.id for one in later)]
    return made


def ensure_project(session: Session, project: str, quota_bytes: int | None = None) -> None:
    """The project, made if it is new; two who make it at once make one."""
    insert: Any = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    row = insert(Project).values(id=project, quota_bytes=quota_bytes, created_at=now())
    session.execute(row.on_conflict_do_nothing(index_elements=["id"]))


def _digest(salt: str, secret: str) -> str:
    """Enough for a secret of 256 random bits: there is nothing to guess."""
    return hmac.new(salt.encode(), secret.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
