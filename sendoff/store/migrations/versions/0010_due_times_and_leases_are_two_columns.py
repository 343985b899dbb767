"""`deliveries.next_attempt_at` becomes `due_at` and `leased_until`; `lease` becomes `lease_token`

Renaming and adding columns change the catalogue alone, on both databases, however large the table is. The only rows
that are rewritten are those in flight, of which there are as many as the workers have slots. The indexes follow in
0011.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from sendoff.store.engine import types

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE deliveries RENAME COLUMN next_attempt_at TO due_at")
    op.execute("ALTER TABLE deliveries RENAME COLUMN lease TO lease_token")
    op.execute("ALTER TABLE uploads RENAME COLUMN lease TO lease_token")
    op.add_column("deliveries", sa.Column("leased_until", types.UtcDateTime(timezone=True), nullable=True))
    op.execute("UPDATE deliveries SET leased_until = due_at, due_at = NULL WHERE state = 'in_flight'")


def downgrade() -> None:
    op.execute("UPDATE deliveries SET due_at = leased_until WHERE state = 'in_flight'")
    op.drop_column("deliveries", "leased_until")
    op.execute("ALTER TABLE uploads RENAME COLUMN lease_token TO lease")
    op.execute("ALTER TABLE deliveries RENAME COLUMN lease_token TO lease")
    op.execute("ALTER TABLE deliveries RENAME COLUMN due_at TO next_attempt_at")
