"""Doors: limits that keys pass on, the tokens of each day, browsers that have signed in, and who did what."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("keys", sa.Column("made_by", sa.String(length=64), nullable=True))
    op.add_column("keys", sa.Column("limits", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("keys", sa.Column("rotated_at", BIG, nullable=True))
    _own_limits()
    op.create_table(
        "token_days",
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("day", BIG, autoincrement=False, nullable=False),
        sa.Column("used", BIG, nullable=False),
        sa.Column("booked", BIG, nullable=False),
        sa.PrimaryKeyConstraint("key_id", "day"),
    )
    op.create_table(
        "web_sessions",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        sa.Column("seen_at", BIG, nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"]),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_index("ix_web_sessions_key_id", "web_sessions", ["key_id"], unique=False)
    op.create_table(
        "audit",
        sa.Column("seq", BIG, nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("key_name", sa.Text(), nullable=False),
        sa.Column("act", sa.String(length=40), nullable=False),
        sa.Column("object", sa.String(length=255), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("times", BIG, nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        sa.Column("last_at", BIG, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("audit_of_project", "audit", ["project", "seq"], unique=False)
    op.create_index("audit_of_object", "audit", ["object", "act", "seq"], unique=False)


def _own_limits() -> None:
    """Keys that were there before are bound by their own limits alone: who made them is not known."""
    keys = sa.table("keys", sa.column("id"), sa.column("requests_per_minute"), sa.column("tokens_per_day"),
                    sa.column("limits", sa.JSON()))  # fmt: skip
    bound = sa.select(keys.c.id, keys.c.requests_per_minute, keys.c.tokens_per_day).where(
        keys.c.requests_per_minute.is_not(None) | keys.c.tokens_per_day.is_not(None)
    )
    for key, requests, tokens in op.get_bind().execute(bound).all():
        limits = [{"key": key, "requests_per_minute": requests, "tokens_per_day": tokens}]
        op.execute(keys.update().where(keys.c.id == key).values(limits=limits))
