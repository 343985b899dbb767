"""Ordered endpoints, and the sequence in which their deliveries were accepted"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("endpoints", sa.Column("ordered", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("endpoints", sa.Column("last_sequence", sa.BigInteger(), nullable=False, server_default=sa.text("0")))
    op.add_column("deliveries", sa.Column("sequence", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("deliveries", "sequence")
    op.drop_column("endpoints", "last_sequence")
    op.drop_column("endpoints", "ordered")
