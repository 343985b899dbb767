"""Operational events, alert endpoints, and since when an endpoint has been failing"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from sendoff.store.engine.types import Identifier, Json, UtcDateTime
from sendoff.store.migrations.online import add_column

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_COLUMNS: dict[str, Any] = {
    "first_failure_at": UtcDateTime(),
    "unhealthy_since": UtcDateTime(),
    "organization_ids": Json,
}


def upgrade() -> None:
    for name, kind in _COLUMNS.items():
        add_column("endpoints", sa.Column(name, kind, nullable=True))
    op.create_table(
        "operational_events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("type", sa.String(length=128), nullable=False),
        sa.Column("organization_id", Identifier(), nullable=True),
        sa.Column("endpoint_id", Identifier(), nullable=True),
        sa.Column("subject_id", Identifier(), nullable=True),
        sa.Column("facts", Json, nullable=True),
        sa.Column("occurred_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "alert_groups",
        sa.Column("endpoint_id", Identifier(), nullable=False),
        sa.Column("type", sa.String(length=128), nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("first_at", UtcDateTime(), nullable=True),
        sa.Column("last_at", UtcDateTime(), nullable=True),
        sa.Column("by_endpoint", Json, nullable=False),
        sa.PrimaryKeyConstraint("endpoint_id", "type"),
    )


def downgrade() -> None:
    op.drop_table("alert_groups")
    op.drop_table("operational_events")
    for name in _COLUMNS:
        op.drop_column("endpoints", name)
