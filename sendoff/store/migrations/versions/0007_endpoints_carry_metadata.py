"""Endpoints carry metadata of their owners"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    kind = sa.JSON().with_variant(postgresql.JSON(), "postgresql")
    op.add_column("endpoints", sa.Column("owner_metadata", kind, nullable=True))


def downgrade() -> None:
    op.drop_column("endpoints", "owner_metadata")
