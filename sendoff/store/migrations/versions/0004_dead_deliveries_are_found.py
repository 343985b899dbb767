"""Dead deliveries are found among many times as many delivered ones: the lists of operators ask for them"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_DEAD = sa.text("state = 'dead'")


def upgrade() -> None:
    for name, columns in (("ix_deliveries_dead", ["id"]), ("ix_deliveries_dead_of_endpoint", ["endpoint_id", "id"])):
        op.create_index(name, "deliveries", columns, postgresql_where=_DEAD, sqlite_where=_DEAD)


def downgrade() -> None:
    op.drop_index("ix_deliveries_dead_of_endpoint", "deliveries")
    op.drop_index("ix_deliveries_dead", "deliveries")
