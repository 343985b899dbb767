"""Endpoints filter and transform events; a delivery keeps what its transform made"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("endpoints", sa.Column("filter", sa.Text(), nullable=True))
    op.add_column("endpoints", sa.Column("transform", sa.Text(), nullable=True))
    op.add_column("deliveries", sa.Column("data", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("deliveries", "data")
    op.drop_column("endpoints", "transform")
    op.drop_column("endpoints", "filter")
