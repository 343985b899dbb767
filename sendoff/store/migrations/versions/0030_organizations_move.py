"""Organizations move to another cell

Columns without a default change the catalogue alone: no row is rewritten or read.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from sendoff.store.engine import types

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("organizations", sa.Column("moved_to", sa.String(31), nullable=True))
    op.add_column("organizations", sa.Column("moved_at", types.UtcDateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("organizations", "moved_at")
    op.drop_column("organizations", "moved_to")
