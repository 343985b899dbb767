"""The first schema"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from sendoff.store.engine import types

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "attempts",
        sa.Column("delivery_id", types.Identifier(length=36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("started_at", types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(length=32), nullable=False),
        sa.Column("response_status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("delivery_id", "number"),
    )
    op.create_table(
        "audit_entries",
        sa.Column("id", types.Identifier(length=36), nullable=False),
        sa.Column("at", types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("organization_id", types.Identifier(length=36), nullable=True),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("target_type", sa.String(length=32), nullable=False),
        sa.Column("target_id", sa.Text(), nullable=False),
        sa.Column("before", types.Json, nullable=True),
        sa.Column("after", types.Json, nullable=True),
        sa.Column("request_id", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("audit_entries", schema=None) as batch_op:
        batch_op.create_index("ix_audit_entries_organization", ["organization_id", "id"], unique=False)

    op.create_table(
        "dead_letters",
        sa.Column("id", types.Identifier(length=36), nullable=False),
        sa.Column("delivery_id", types.Identifier(length=36), nullable=False),
        sa.Column("event_id", sa.String(length=28), nullable=False),
        sa.Column("event_type", sa.String(length=128), nullable=False),
        sa.Column("endpoint_id", types.Identifier(length=36), nullable=False),
        sa.Column("endpoint_url", sa.Text(), nullable=False),
        sa.Column("organization_id", types.Identifier(length=36), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("last_response_status", sa.Integer(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("attempt_count", sa.Integer(), nullable=False),
        sa.Column("died_at", types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("replayed_at", types.UtcDateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("dead_letters", schema=None) as batch_op:
        batch_op.create_index("ix_dead_letters_delivery", ["delivery_id"], unique=False)
        batch_op.create_index("ix_dead_letters_died", ["died_at"], unique=False)
        batch_op.create_index("ix_dead_letters_endpoint", ["endpoint_id", "id"], unique=False)
        batch_op.create_index("ix_dead_letters_organization", ["organization_id", "id"], unique=False)
        batch_op.create_index("ix_dead_letters_state", ["state", "id"], unique=False)

    op.create_table(
        "deliveries",
        sa.Column("id", types.Identifier(length=36), nullable=False),
        sa.Column("event_id", sa.String(length=28), nullable=False),
        sa.Column("endpoint_id", types.Identifier(length=36), nullable=False),
        sa.Column("organization_id", types.Identifier(length=36), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempt_count", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", types.UtcDateTime(timezone=True), nullable=True),
        sa.Column("lease", types.Identifier(length=36), nullable=True),
        sa.Column("replay_id", types.Identifier(length=36), nullable=True),
        sa.Column("untried_since", types.UtcDateTime(timezone=True), nullable=True),
        sa.Column("created_at", types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("last_attempt_at", types.UtcDateTime(timezone=True), nullable=True),
        sa.Column("last_response_status", sa.Integer(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("delivered_at", types.UtcDateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("event_id", "endpoint_id", name="uq_deliveries_event_endpoint"),
    )
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.create_index(
            "ix_deliveries_delivered",
            ["delivered_at"],
            unique=False,
            postgresql_where=sa.text("state = 'delivered'"),
            sqlite_where=sa.text("state = 'delivered'"),
        )
        batch_op.create_index(
            "ix_deliveries_due",
            ["next_attempt_at"],
            unique=False,
            postgresql_where=sa.text("state IN ('pending', 'in_flight')"),
            sqlite_where=sa.text("state IN ('pending', 'in_flight')"),
        )
        batch_op.create_index("ix_deliveries_endpoint", ["endpoint_id", "id"], unique=False)
        batch_op.create_index(
            "ix_deliveries_held",
            ["endpoint_id", "id"],
            unique=False,
            postgresql_where=sa.text("state = 'held'"),
            sqlite_where=sa.text("state = 'held'"),
        )
        batch_op.create_index(
            "ix_deliveries_open",
            ["endpoint_id", "id"],
            unique=False,
            postgresql_where=sa.text("state IN ('pending', 'held', 'in_flight')"),
            sqlite_where=sa.text("state IN ('pending', 'held', 'in_flight')"),
        )

    op.create_table(
        "event_types",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("data_schema", types.Json, nullable=True),
        sa.Column("created_at", types.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.String(length=28), nullable=False),
        sa.Column("organization_id", types.Identifier(length=36), nullable=False),
        sa.Column("type", sa.String(length=128), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("occurred_at", types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("created_at", types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=True),
        sa.Column("delivery_count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.create_index(
            "ix_events_without_deliveries",
            ["created_at"],
            unique=False,
            postgresql_where=sa.text("delivery_count = 0"),
            sqlite_where=sa.text("delivery_count = 0"),
        )

    op.create_table(
        "idempotency_records",
        sa.Column("organization_id", types.Identifier(length=36), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("request_hash", sa.String(length=64), nullable=False),
        sa.Column("response_status", sa.Integer(), nullable=True),
        sa.Column("response_body", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", types.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "key"),
    )
    with op.batch_alter_table("idempotency_records", schema=None) as batch_op:
        batch_op.create_index("ix_idempotency_records_created", ["created_at"], unique=False)

    op.create_table(
        "last_exchanges",
        sa.Column("delivery_id", types.Identifier(length=36), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("request_headers", types.Json, nullable=False),
        sa.Column("response_status", sa.Integer(), nullable=True),
        sa.Column("response_headers", types.Json, nullable=True),
        sa.Column("response_body", sa.LargeBinary(), nullable=True),
        sa.Column("response_truncated", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("delivery_id"),
    )
    op.create_table(
        "organizations",
        sa.Column("id", types.Identifier(length=36), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("credits", sa.BigInteger(), nullable=True),
        sa.Column("suspended_at", types.UtcDateTime(timezone=True), nullable=True),
        sa.Column("created_at", types.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "replay_items",
        sa.Column("replay_id", types.Identifier(length=36), nullable=False),
        sa.Column("delivery_id", types.Identifier(length=36), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("replay_id", "delivery_id"),
    )
    with op.batch_alter_table("replay_items", schema=None) as batch_op:
        batch_op.create_index("ix_replay_items_state", ["replay_id", "state"], unique=False)

    op.create_table(
        "replays",
        sa.Column("id", types.Identifier(length=36), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("filter", types.Json, nullable=False),
        sa.Column("rate", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("created_at", types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("ticked_at", types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("finished_at", types.UtcDateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("replays", schema=None) as batch_op:
        batch_op.create_index("ix_replays_state", ["state"], unique=False)

    op.create_table(
        "users",
        sa.Column("id", types.Identifier(length=36), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("created_at", types.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("email"),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", types.Identifier(length=36), nullable=False),
        sa.Column("organization_id", types.Identifier(length=36), nullable=False),
        sa.Column("user_id", types.Identifier(length=36), nullable=False),
        sa.Column("key_hash", sa.String(length=64), nullable=False),
        sa.Column("prefix", sa.String(length=12), nullable=False),
        sa.Column("scopes", types.Json, nullable=False),
        sa.Column("created_at", types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("expires_at", types.UtcDateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", types.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.id"],
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key_hash"),
    )
    with op.batch_alter_table("api_keys", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_api_keys_organization_id"), ["organization_id"], unique=False)

    op.create_table(
        "endpoints",
        sa.Column("id", types.Identifier(length=36), nullable=False),
        sa.Column("organization_id", types.Identifier(length=36), nullable=False),
        sa.Column("user_id", types.Identifier(length=36), nullable=True),
        sa.Column("dialect", sa.String(length=32), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("events", types.Json, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("previous_secret", sa.LargeBinary(), nullable=True),
        sa.Column("previous_secret_until", types.UtcDateTime(timezone=True), nullable=True),
        sa.Column("verified_at", types.UtcDateTime(timezone=True), nullable=True),
        sa.Column("last_success_at", types.UtcDateTime(timezone=True), nullable=True),
        sa.Column("last_failure_at", types.UtcDateTime(timezone=True), nullable=True),
        sa.Column("consecutive_failures", sa.Integer(), nullable=False),
        sa.Column("disabled_at", types.UtcDateTime(timezone=True), nullable=True),
        sa.Column("rate_limit", sa.Integer(), nullable=True),
        sa.Column("burial_due", sa.Boolean(), nullable=False),
        sa.Column("created_at", types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("updated_at", types.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.id"],
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("endpoints", schema=None) as batch_op:
        batch_op.create_index(
            "ix_endpoints_burial_due",
            ["id"],
            unique=False,
            postgresql_where=sa.text("burial_due"),
            sqlite_where=sa.text("burial_due"),
        )
        batch_op.create_index("ix_endpoints_organization", ["organization_id", "id"], unique=False)

    op.create_table(
        "memberships",
        sa.Column("organization_id", types.Identifier(length=36), nullable=False),
        sa.Column("user_id", types.Identifier(length=36), nullable=False),
        sa.Column("created_at", types.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.id"],
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
        ),
        sa.PrimaryKeyConstraint("organization_id", "user_id"),
    )
    op.create_table(
        "uploads",
        sa.Column("id", types.Identifier(length=36), nullable=False),
        sa.Column("user_id", types.Identifier(length=36), nullable=False),
        sa.Column("organization_id", types.Identifier(length=36), nullable=False),
        sa.Column("original_filename", sa.Text(), nullable=False),
        sa.Column("storage_path", sa.Text(), nullable=False),
        sa.Column("file_size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("valid_row_count", sa.Integer(), nullable=False),
        sa.Column("invalid_row_count", sa.Integer(), nullable=False),
        sa.Column("credits_required", sa.Integer(), nullable=False),
        sa.Column("credits_charged", sa.Integer(), nullable=False),
        sa.Column("credits_refunded", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(length=8), nullable=False),
        sa.Column("api_key_id", types.Identifier(length=36), nullable=True),
        sa.Column("skip_mobile_lookup", sa.Boolean(), nullable=False),
        sa.Column("processed_storage_path", sa.Text(), nullable=True),
        sa.Column("processed_filtered_storage_path", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("exceeded_daily_limit", sa.Boolean(), nullable=False),
        sa.Column("created_at", types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("updated_at", types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("phone_column", sa.Text(), nullable=False),
        sa.Column("processed_rows", sa.Integer(), nullable=False),
        sa.Column("processing_attempts", sa.Integer(), nullable=False),
        sa.Column("leased_until", types.UtcDateTime(timezone=True), nullable=True),
        sa.Column("lease", types.Identifier(length=36), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("uploads", schema=None) as batch_op:
        batch_op.create_index("ix_uploads_organization", ["organization_id", "id"], unique=False)
        batch_op.create_index(
            "ix_uploads_waiting",
            ["leased_until"],
            unique=False,
            postgresql_where=sa.text("status IN ('ready_for_processing', 'processing')"),
            sqlite_where=sa.text("status IN ('ready_for_processing', 'processing')"),
        )


def downgrade() -> None:
    with op.batch_alter_table("uploads", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_uploads_waiting",
            postgresql_where=sa.text("status IN ('ready_for_processing', 'processing')"),
            sqlite_where=sa.text("status IN ('ready_for_processing', 'processing')"),
        )
        batch_op.drop_index("ix_uploads_organization")

    op.drop_table("uploads")
    op.drop_table("memberships")
    with op.batch_alter_table("endpoints", schema=None) as batch_op:
        batch_op.drop_index("ix_endpoints_organization")
        batch_op.drop_index(
            "ix_endpoints_burial_due", postgresql_where=sa.text("burial_due"), sqlite_where=sa.text("burial_due")
        )

    op.drop_table("endpoints")
    with op.batch_alter_table("api_keys", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_api_keys_organization_id"))

    op.drop_table("api_keys")
    op.drop_table("users")
    with op.batch_alter_table("replays", schema=None) as batch_op:
        batch_op.drop_index("ix_replays_state")

    op.drop_table("replays")
    with op.batch_alter_table("replay_items", schema=None) as batch_op:
        batch_op.drop_index("ix_replay_items_state")

    op.drop_table("replay_items")
    op.drop_table("organizations")
    op.drop_table("last_exchanges")
    with op.batch_alter_table("idempotency_records", schema=None) as batch_op:
        batch_op.drop_index("ix_idempotency_records_created")

    op.drop_table("idempotency_records")
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_events_without_deliveries",
            postgresql_where=sa.text("delivery_count = 0"),
            sqlite_where=sa.text("delivery_count = 0"),
        )

    op.drop_table("events")
    op.drop_table("event_types")
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_deliveries_open",
            postgresql_where=sa.text("state IN ('pending', 'held', 'in_flight')"),
            sqlite_where=sa.text("state IN ('pending', 'held', 'in_flight')"),
        )
        batch_op.drop_index(
            "ix_deliveries_held", postgresql_where=sa.text("state = 'held'"), sqlite_where=sa.text("state = 'held'")
        )
        batch_op.drop_index("ix_deliveries_endpoint")
        batch_op.drop_index(
            "ix_deliveries_due",
            postgresql_where=sa.text("state IN ('pending', 'in_flight')"),
            sqlite_where=sa.text("state IN ('pending', 'in_flight')"),
        )
        batch_op.drop_index(
            "ix_deliveries_delivered",
            postgresql_where=sa.text("state = 'delivered'"),
            sqlite_where=sa.text("state = 'delivered'"),
        )

    op.drop_table("deliveries")
    with op.batch_alter_table("dead_letters", schema=None) as batch_op:
        batch_op.drop_index("ix_dead_letters_state")
        batch_op.drop_index("ix_dead_letters_organization")
        batch_op.drop_index("ix_dead_letters_endpoint")
        batch_op.drop_index("ix_dead_letters_died")
        batch_op.drop_index("ix_dead_letters_delivery")

    op.drop_table("dead_letters")
    with op.batch_alter_table("audit_entries", schema=None) as batch_op:
        batch_op.drop_index("ix_audit_entries_organization")

    op.drop_table("audit_entries")
    op.drop_table("attempts")
