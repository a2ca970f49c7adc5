"""Evaluation sets, corrections, blind votes, business lines, and notes on models."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
PROJECT = ("project", "projects.id")


def upgrade() -> None:
    op.create_table(
        "model_notes",
        sa.Column("model_id", sa.String(length=255), nullable=False),
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("updated_at", BIG, nullable=False),
        sa.ForeignKeyConstraint(["project"], ["projects.id"]),
        sa.PrimaryKeyConstraint("model_id", "project"),
    )
    _listed(
        "lines",
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("model", sa.String(length=255), nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        sa.Column("updated_at", BIG, nullable=False),
        sa.UniqueConstraint("project", "name"),
        parent=PROJECT,
    )
    op.create_table(
        "line_log",
        sa.Column("seq", BIG, nullable=False),
        sa.Column("line_id", sa.String(length=64), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_line_log_line_id", "line_log", ["line_id"], unique=False)
    _listed(
        "evaluation_sets",
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("file_id", sa.String(length=64), nullable=False),
        sa.Column("examples", BIG, nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        parent=PROJECT, index="sets_of_project",
    )  # fmt: skip
    _listed(
        "correction_sets",
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        parent=PROJECT, index="correction_sets_of_project",
    )  # fmt: skip
    _listed(
        "corrections",
        sa.Column("set_id", sa.String(length=64), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("messages", sa.JSON(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("right", sa.Text(), nullable=True),
        sa.Column("thumb", sa.String(length=8), nullable=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        sa.Column("updated_at", BIG, nullable=False),
        parent=("set_id", "correction_sets.id"), index="corrections_of_set",
    )  # fmt: skip
    _listed(
        "ballots",
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("model", sa.String(length=255), nullable=False),
        sa.Column("seed", sa.String(length=64), nullable=False),
        sa.Column("rows", sa.JSON(), nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        sa.Column("closed_at", BIG, nullable=True),
        parent=PROJECT, index="ballots_of_project",
    )  # fmt: skip
    _listed(
        "raters",
        sa.Column("ballot_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        sa.UniqueConstraint("digest"),
        parent=("ballot_id", "ballots.id"), index="raters_of_ballot",
    )  # fmt: skip
    op.create_table(
        "votes",
        sa.Column("rater_id", sa.String(length=64), nullable=False),
        sa.Column("row", BIG, nullable=False, autoincrement=False),
        sa.Column("choice", sa.String(length=8), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        sa.ForeignKeyConstraint(["rater_id"], ["raters.id"]),
        sa.PrimaryKeyConstraint("rater_id", "row"),
    )


def _listed(name: str, *columns: sa.schema.SchemaItem, parent: tuple[str, str], index: str = "") -> None:
    """A table whose rows have a number that only grows and an id, and stand below `parent`: (column, its key)."""
    op.create_table(
        name,
        sa.Column("seq", BIG, nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        *columns,
        sa.ForeignKeyConstraint([parent[0]], [parent[1]]),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
        sqlite_autoincrement=True,
    )
    if index:
        op.create_index(index, name, [parent[0], "seq"], unique=False)
