"""Events keep the tracestate of their trace, too

On SQLite the column keeps its declared length, which SQLite does not enforce.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A longer varchar changes the catalogue alone: no row is rewritten or read.
    if op.get_context().dialect.name == "postgresql":
        op.alter_column("events", "traceparent", type_=sa.String(568), existing_nullable=True)


def downgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute("UPDATE events SET traceparent = split_part(traceparent, ' ', 1) WHERE length(traceparent) > 55")
        op.alter_column("events", "traceparent", type_=sa.String(55), existing_nullable=True)
