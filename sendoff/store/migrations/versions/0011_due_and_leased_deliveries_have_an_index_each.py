"""Due and leased deliveries are found by an index each

The indexes are made concurrently on PostgreSQL: a table of millions is written to meanwhile. What an interrupted run
left behind is made again.
"""

from __future__ import annotations

from sendoff.store.migrations.online import replace_indexes

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_NEW = {
    "ix_deliveries_due_at": "(due_at) WHERE state = 'pending'",
    "ix_deliveries_leased_until": "(leased_until) WHERE state = 'in_flight'",
}
_OLD = {"ix_deliveries_due": "(due_at) WHERE state IN ('pending', 'in_flight')"}


def upgrade() -> None:
    replace_indexes("deliveries", old=tuple(_OLD), new=_NEW)


def downgrade() -> None:
    replace_indexes("deliveries", old=tuple(_NEW), new=_OLD)
