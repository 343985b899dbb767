"""Rename the dialect `house` of endpoints to `default`"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("UPDATE endpoints SET dialect = 'default' WHERE dialect = 'house'")


def downgrade() -> None:
    op.execute("UPDATE endpoints SET dialect = 'house' WHERE dialect = 'default'")
