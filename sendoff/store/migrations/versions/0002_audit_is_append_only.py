"""The audit log is append-only: the database itself refuses to change or remove an entry.

A later revision that alters `audit_entries` in SQLite's batch mode makes the table again and must make the triggers
again as well.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_REFUSAL = "audit_entries is append-only"

_POSTGRESQL = (
    f"""
    CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION '{_REFUSAL}';
    END
    $$
    """,
    """
    CREATE TRIGGER audit_entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()
    """,
)
# The third is for INSERT OR REPLACE, which deletes without asking the second.
_SQLITE = tuple(
    f"CREATE TRIGGER audit_entries_no_{name} BEFORE {event} BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
    for name, event in (
        ("update", "UPDATE ON audit_entries"),
        ("delete", "DELETE ON audit_entries"),
        (
            "replace",
            "INSERT ON audit_entries WHEN EXISTS (SELECT 1 FROM audit_entries WHERE id = NEW.id)",
        ),
    )
)


def upgrade() -> None:
    for statement in _POSTGRESQL if op.get_bind().dialect.name == "postgresql" else _SQLITE:
        op.execute(statement)


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP TRIGGER audit_entries_append_only ON audit_entries")
        op.execute("DROP FUNCTION refuse_audit_change()")
        return
    for name in ("update", "delete", "replace"):
        op.execute(f"DROP TRIGGER audit_entries_no_{name}")
