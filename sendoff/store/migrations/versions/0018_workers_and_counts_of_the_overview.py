"""Workers have heartbeats, and the overview counts dead letters by reason and endpoints by state from indexes"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from sendoff.store.engine import types
from sendoff.store.migrations.online import replace_indexes

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_DEAD_LETTERS = {"ix_dead_letters_open": "(reason) WHERE state = 'open'"}
_ENDPOINTS = {"ix_endpoints_state": "(state)"}


def upgrade() -> None:
    op.create_table(
        "workers",
        sa.Column("id", types.Identifier(length=36), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("started_at", types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("in_flight", sa.Integer(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        if_not_exists=True,
    )
    replace_indexes("dead_letters", new=_DEAD_LETTERS)
    replace_indexes("endpoints", new=_ENDPOINTS)


def downgrade() -> None:
    replace_indexes("dead_letters", old=tuple(_DEAD_LETTERS), new={})
    replace_indexes("endpoints", old=tuple(_ENDPOINTS), new={})
    op.drop_table("workers")
