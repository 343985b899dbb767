"""Sums of what was accepted, attempted and delivered, by minute, five minutes, hour and day"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from sendoff.store.engine import types

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_COUNTS = ("accepted", "attempts", "failed_attempts", "retries", "delivered", "dead")
_TOTALS = ("duration_total", "latency_total")
_BINS = (*(f"duration_{index:02}" for index in range(32)), *(f"latency_{index:02}" for index in range(46)))


def _measures() -> list[sa.Column[int]]:
    return [
        *(sa.Column(name, sa.Integer(), nullable=True) for name in _COUNTS),
        *(sa.Column(name, sa.BigInteger(), nullable=True) for name in _TOTALS),
        *(sa.Column(name, sa.Integer(), nullable=True) for name in _BINS),
    ]


def upgrade() -> None:
    op.create_table(
        "statistics_increments",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("minute", sa.Integer(), nullable=False),
        sa.Column("organization_id", types.Identifier(length=36), nullable=False),
        sa.Column("endpoint_id", types.Identifier(length=36), nullable=True),
        sa.Column("event_type", sa.String(length=128), nullable=False),
        sa.Column("outcome", sa.String(length=32), nullable=False),
        *_measures(),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "statistics",
        sa.Column("span", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("scope", sa.String(length=12), nullable=False),
        sa.Column("subject_id", types.Identifier(length=36), nullable=False),
        sa.Column("minute", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("event_type", sa.String(length=128), nullable=False),
        sa.Column("outcome", sa.String(length=32), nullable=False),
        *_measures(),
        sa.PrimaryKeyConstraint("span", "scope", "subject_id", "minute", "event_type", "outcome"),
    )
    op.create_index("ix_statistics_minute", "statistics", ["span", "scope", "minute"])


def downgrade() -> None:
    op.drop_table("statistics")
    op.drop_table("statistics_increments")
