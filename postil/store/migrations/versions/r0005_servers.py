"""Servers are known by the table of processes that they are in, and a database by the directory that belongs to it."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("servers", sa.Column("namespace", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "directory",
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("place"),
    )
