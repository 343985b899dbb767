"""Due and leased deliveries are found by an index each

The indexes are made concurrently on PostgreSQL: a table of millions is written to meanwhile. What an interrupted run
left behind is made again.
"""

from __future__ import annotations

from alembic import op

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
    _replace(_OLD, _NEW)


def downgrade() -> None:
    _replace(_NEW, _OLD)


def _replace(old: dict[str, str], new: dict[str, str]) -> None:
    concurrently = "CONCURRENTLY" if op.get_bind().dialect.name == "postgresql" else ""
    with op.get_context().autocommit_block():
        for name, definition in new.items():
            op.execute(f"DROP INDEX {concurrently} IF EXISTS {name}")
            op.execute(f"CREATE INDEX {concurrently} {name} ON deliveries {definition}")
        for name in old:
            op.execute(f"DROP INDEX {concurrently} IF EXISTS {name}")
