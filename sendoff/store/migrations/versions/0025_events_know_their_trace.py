"""Events know the trace that published them"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from sendoff.store.migrations.online import add_column

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_column("events", sa.Column("traceparent", sa.String(55), nullable=True))


def downgrade() -> None:
    op.drop_column("events", "traceparent")
