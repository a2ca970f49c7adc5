"""API keys and the projects that they open. A key is shown once; what is kept is a salted hash of its secret half."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from postil.errors import StoreError
from postil.store.database import Database
from postil.store.ids import letters, now
from postil.store.tables import Key, Project

SCOPES = ("read", "train", "serve", "admin")
LOCAL = "proj_local"
PAGES = "pages"  # the name of the key that has no secret: it is reached by signing in
_LEAD = "sk-postil-"


class Keys:
    """Who may do what."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def first(self) -> str | None:
        """At the very first start, the secret of a key for everything in the local project; later None."""
        with self._database.write() as session:
            if session.scalar(select(Key.seq).where(Key.name != PAGES).limit(1)):
                return None
            return self._create(session, LOCAL, "first", SCOPES, None, None)[1]

    def create(self, project: str, name: str, scopes: Sequence[str], *, requests_per_minute: int | None = None,
               tokens_per_day: int | None = None, quota_bytes: int | None = None) -> tuple[Key, str]:  # fmt: skip
        """A new key and its secret, which cannot be read again. `quota_bytes`: of the project, if it is new.

        Raises StoreError `unknown_scope`.
        """
        unknown = [scope for scope in scopes if scope not in SCOPES]
        if unknown or not scopes:
            raise StoreError("unknown_scope", scope=", ".join(unknown) or "-", known=", ".join(SCOPES))
        with self._database.write() as session:
            return self._create(session, project, name, scopes, requests_per_minute, tokens_per_day, quota_bytes)

    def check(self, secret: str) -> Key | None:
        """The key of this secret, unless there is none or it was revoked. Takes the same time either way."""
        lead, _, rest = secret.rpartition("-")
        key_id = lead.removeprefix(_LEAD) if lead.startswith(_LEAD) else ""
        with self._database.read() as session:
            row = session.scalar(select(Key).where(Key.id == f"key_{key_id}"))
        salt, digest = (row.salt, row.digest) if row else ("", "")
        same = hmac.compare_digest(_digest(salt, rest), digest)
        return row if row and same and row.revoked_at is None else None

    def active(self, key_id: str) -> Key | None:
        """The key of this id, unless it was revoked."""
        with self._database.read() as session:
            return session.scalar(select(Key).where(Key.id == key_id, Key.revoked_at.is_(None)))

    def of_pages(self) -> Key:
        """The key that stands for whoever opens the pages by the link: for everything in the local project."""
        with self._database.write() as session:
            named = select(Key).where(Key.project == LOCAL, Key.name == PAGES, Key.revoked_at.is_(None))
            row = session.scalar(named.order_by(Key.seq))
            return row or self._create(session, LOCAL, PAGES, SCOPES, None, None)[0]

    def list(self, project: str | None = None) -> Sequence[Key]:
        """All keys, or those of one project, oldest first."""
        query = select(Key).order_by(Key.seq)
        with self._database.read() as session:
            return session.scalars(query.where(Key.project == project) if project else query).all()

    def revoke(self, key_id: str) -> Key:
        """From now on it opens nothing. Raises StoreError `key_not_found`."""
        with self._database.write() as session:
            row = session.scalar(select(Key).where(Key.id == key_id))
            if row is None:
                raise StoreError("key_not_found", key=key_id[:80])
            row.revoked_at = row.revoked_at or now()
        return row

    def set_quota(self, project: str, quota_bytes: int | None) -> None:
        """How much the files of a project may take; None: no bound."""
        with self._database.write() as session:
            ensure_project(session, project)
            session.execute(update(Project).where(Project.id == project).values(quota_bytes=quota_bytes))

    def _create(self, session: Session, project: str, name: str, scopes: Sequence[str], requests: int | None,
                tokens: int | None, quota: int | None = None) -> tuple[Key, str]:  # fmt: skip
        ensure_project(session, project, quota)
        public, secret, salt = letters(12), secrets.token_hex(32), secrets.token_hex(16)
        row = Key(
            id=f"key_{public}", project=project, name=name[:100], salt=salt, digest=_digest(salt, secret),
            scopes=list(scopes), requests_per_minute=requests, tokens_per_day=tokens, created_at=now(), revoked_at=None,
        )  # fmt: skip
        session.add(row)
        session.flush()
        return row, f"{_LEAD}{public}-{secret}"


def ensure_project(session: Session, project: str, quota_bytes: int | None = None) -> None:
    """The project, made if it is new; two who make it at once make one."""
    insert: Any = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    row = insert(Project).values(id=project, quota_bytes=quota_bytes, created_at=now())
    session.execute(row.on_conflict_do_nothing(index_elements=["id"]))


def _digest(salt: str, secret: str) -> str:
    """Enough for a secret of 256 random bits: there is nothing to guess."""
    return hmac.new(salt.encode(), secret.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
