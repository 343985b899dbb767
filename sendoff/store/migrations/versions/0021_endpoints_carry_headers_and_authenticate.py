"""Endpoints carry headers of their owner's, and authenticate"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("endpoints", sa.Column("headers", sa.LargeBinary(), nullable=True))
    op.add_column("endpoints", sa.Column("header_names", sa.JSON(), nullable=True))
    op.add_column("endpoints", sa.Column("auth", sa.LargeBinary(), nullable=True))
    op.add_column("endpoints", sa.Column("auth_type", sa.String(16), nullable=True))


def downgrade() -> None:
    op.drop_column("endpoints", "auth_type")
    op.drop_column("endpoints", "auth")
    op.drop_column("endpoints", "header_names")
    op.drop_column("endpoints", "headers")
