"""The newest attempts are found by when they were started"""

from __future__ import annotations

from alembic import op

from sendoff.store.migrations.online import replace_indexes

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # SQLite finds the newest by the order of insertion, and would pay for an index at each attempt.
    if op.get_context().dialect.name == "postgresql":
        replace_indexes("attempts", new={"ix_attempts_started_at": "USING brin (started_at) WITH (autosummarize = on)"})


def downgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        replace_indexes("attempts", old=("ix_attempts_started_at",), new={})
