"""Dead deliveries are found among many times as many delivered ones: the lists of operators ask for them"""

from __future__ import annotations

from alembic import op

from sendoff.store.migrations.online import replace_indexes

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_NEW = {
    "ix_deliveries_dead": "(id) WHERE state = 'dead'",
    "ix_deliveries_dead_of_endpoint": "(endpoint_id, id) WHERE state = 'dead'",
}


def upgrade() -> None:
    replace_indexes("deliveries", new=_NEW)


def downgrade() -> None:
    op.drop_index("ix_deliveries_dead_of_endpoint", "deliveries")
    op.drop_index("ix_deliveries_dead", "deliveries")
