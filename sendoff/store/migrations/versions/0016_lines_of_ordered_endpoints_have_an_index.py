"""The line of an ordered endpoint is found by an index

It is empty until an endpoint is ordered, but making it reads the table: it is made concurrently on PostgreSQL.
"""

from __future__ import annotations

from alembic import op

from sendoff.store.migrations.online import replace_indexes

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_INDEX = {"ix_deliveries_queued": "(endpoint_id, sequence, id) WHERE state = 'queued'"}


def upgrade() -> None:
    replace_indexes("deliveries", new=_INDEX)


def downgrade() -> None:
    op.execute("UPDATE deliveries SET state = 'held' WHERE state = 'queued'")
    replace_indexes("deliveries", old=tuple(_INDEX), new={})
