"""Endpoints have a retry schedule, a timeout and a cap of requests under way of their own"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("endpoints", sa.Column("retry_schedule", sa.JSON(), nullable=True))
    op.add_column("endpoints", sa.Column("timeout_seconds", sa.Integer(), nullable=True))
    op.add_column("endpoints", sa.Column("max_in_flight", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("endpoints", "max_in_flight")
    op.drop_column("endpoints", "timeout_seconds")
    op.drop_column("endpoints", "retry_schedule")
