"""Rename endpoints.burial_due to drain_due and deliveries.untried_since to blocked_since"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # RENAME COLUMN changes the catalogue alone, on both databases: no rewrite, and indexes and their predicates follow.
    op.execute("ALTER TABLE endpoints RENAME COLUMN burial_due TO drain_due")
    op.execute("ALTER TABLE deliveries RENAME COLUMN untried_since TO blocked_since")
    op.drop_index("ix_endpoints_burial_due", "endpoints")
    op.execute("CREATE INDEX ix_endpoints_drain_due ON endpoints (id) WHERE drain_due")


def downgrade() -> None:
    op.drop_index("ix_endpoints_drain_due", "endpoints")
    op.execute("CREATE INDEX ix_endpoints_burial_due ON endpoints (id) WHERE drain_due")
    op.execute("ALTER TABLE deliveries RENAME COLUMN blocked_since TO untried_since")
    op.execute("ALTER TABLE endpoints RENAME COLUMN drain_due TO burial_due")
