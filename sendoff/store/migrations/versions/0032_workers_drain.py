"""Operators ask workers to finish and stop"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from sendoff.store.engine import types
from sendoff.store.migrations.online import add_column

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_column("workers", sa.Column("drain_requested_at", types.UtcDateTime, nullable=True))


def downgrade() -> None:
    op.drop_column("workers", "drain_requested_at")
