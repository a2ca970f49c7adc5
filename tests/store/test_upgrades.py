"""A database of an earlier Postil opens, with everything in it."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import JSON, bindparam, text

from postil.store import LOCAL, SCOPES, Store
from postil.store.database import Database
from postil.store.keys import _digest
from postil.store.migrate import upgrade

KEY = (
    "INSERT INTO keys (id, project, name, salt, digest, scopes, requests_per_minute, tokens_per_day, created_at, "
    "revoked_at) VALUES (:id, :project, :name, :salt, :digest, :scopes, :requests, :tokens, 1700000000, :revoked)"
)
MODEL = (
    "INSERT INTO models (id, project, base, base_sha256, adapter_sha256, directory, verdict, live, created_at) VALUES "
    "('ft:b:local:shop:abcdefgh', 'proj_local', 'b', 'x', 'y', 'adapters/a', :verdict, :live, 1700000000)"
)


def landed(directory: Path, url: str) -> None:
    """What revision 0003 left: an unlimited, a limited and a revoked key, a model and a business line."""
    (directory / "adapters" / "a").mkdir(parents=True)
    database = Database(url or f"sqlite:///{directory / 'postil.db'}")
    upgrade(database, "0003")
    with database.write() as session:
        session.execute(text("INSERT INTO projects (id, quota_bytes, created_at) VALUES ('proj_local', 1000, 1)"))
        statement = text(KEY).bindparams(bindparam("scopes", type_=JSON))
        for name, tokens, revoked in (("first", None, None), ("limited", 50, None), ("old", None, 1_700_000_001)):
            session.execute(statement, {
                "id": f"key_{name}", "project": "proj_local", "name": name, "salt": "s", "digest": _digest("s", name),
                "scopes": list(SCOPES), "requests": 7 if tokens else None, "tokens": tokens, "revoked": revoked,
            })  # fmt: skip
        verdict = {"verdict": {"outcome": "better"}, "live": True}
        session.execute(text(MODEL).bindparams(bindparam("verdict", type_=JSON)), verdict)
        session.execute(text(
            "INSERT INTO lines (id, project, name, title, model, created_at, updated_at) VALUES "
            "('line_1', 'proj_local', 'shop', 'Shop', 'ft:b:local:shop:abcdefgh', 1, 1)"
        ))  # fmt: skip
    database.close()


def test_a_database_of_the_landed_version_opens_with_everything_in_it(tmp_path: Path, database: str) -> None:
    landed(tmp_path / "store", database)
    store = Store(tmp_path / "store", database)
    first, limited = (store.keys.check(f"sk-postil-{name}-{name}") for name in ("first", "limited"))
    assert first is not None and (first.limits, first.made_by, first.rotated_at) == ([], None, None)
    assert limited is not None and limited.limits == [
        {"key": "key_limited", "requests_per_minute": 7, "tokens_per_day": 50}
    ]
    assert store.keys.check("sk-postil-old-old") is None
    assert [key.name for key in store.keys.list(LOCAL)] == ["first", "limited", "old"]
    assert store.models.get(LOCAL, "ft:b:local:shop:abcdefgh").verdict == {"outcome": "better"}
    assert store.lines.get(LOCAL, "shop").model == "ft:b:local:shop:abcdefgh"
    assert store.keys.first() is None
    store.tokens.spend(limited.limits, 50)
    rotated, _ = store.keys.rotate("key_first")
    assert rotated.rotated_at and store.sessions.key(store.sessions.open(rotated, "a")) is not None
    assert store.audit.list(LOCAL).rows[0].act == "signed_in"
    store.close()
