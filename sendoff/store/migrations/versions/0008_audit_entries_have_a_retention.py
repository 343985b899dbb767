"""Audit entries may be removed once their retention has ended: before audit_horizon.until, and nowhere else"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from sendoff.store.engine import types

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_REFUSAL = "audit_entries is append-only"

_POSTGRESQL = (
    "DROP TRIGGER audit_entries_append_only ON audit_entries",
    """
    CREATE TRIGGER audit_entries_append_only BEFORE UPDATE OR TRUNCATE ON audit_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()
    """,
    f"""
    CREATE FUNCTION refuse_audit_removal() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT 1 FROM audit_horizon h WHERE OLD.at < h.until) THEN
            RETURN OLD;
        END IF;
        RAISE EXCEPTION '{_REFUSAL}';
    END
    $$
    """,
    """
    CREATE TRIGGER audit_entries_removal BEFORE DELETE ON audit_entries
    FOR EACH ROW EXECUTE FUNCTION refuse_audit_removal()
    """,
)
_POSTGRESQL_BACK = (
    "DROP TRIGGER audit_entries_removal ON audit_entries",
    "DROP FUNCTION refuse_audit_removal()",
    "DROP TRIGGER audit_entries_append_only ON audit_entries",
    """
    CREATE TRIGGER audit_entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()
    """,
)
_SQLITE = (
    "DROP TRIGGER audit_entries_no_delete",
    f"""
    CREATE TRIGGER audit_entries_no_delete BEFORE DELETE ON audit_entries
    WHEN NOT EXISTS (SELECT 1 FROM audit_horizon h WHERE OLD.at < h.until)
    BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END
    """,
)
_SQLITE_BACK = (
    "DROP TRIGGER audit_entries_no_delete",
    f"CREATE TRIGGER audit_entries_no_delete BEFORE DELETE ON audit_entries "
    f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END",
)


def upgrade() -> None:
    op.create_table(
        "audit_horizon",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("until", types.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    for statement in _POSTGRESQL if op.get_bind().dialect.name == "postgresql" else _SQLITE:
        op.execute(statement)


def downgrade() -> None:
    for statement in _POSTGRESQL_BACK if op.get_bind().dialect.name == "postgresql" else _SQLITE_BACK:
        op.execute(statement)
    op.drop_table("audit_horizon")
