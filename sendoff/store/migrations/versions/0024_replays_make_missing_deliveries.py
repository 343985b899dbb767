"""A replay makes deliveries that were never made"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from sendoff.store.engine.types import Identifier

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("replay_items", sa.Column("event_id", sa.String(28), nullable=True))
    op.add_column("replay_items", sa.Column("endpoint_id", Identifier(), nullable=True))


def downgrade() -> None:
    op.drop_column("replay_items", "endpoint_id")
    op.drop_column("replay_items", "event_id")
