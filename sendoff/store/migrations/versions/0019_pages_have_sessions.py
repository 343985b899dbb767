"""Pages have sessions, and links that open them once"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from sendoff.store.engine.types import Identifier, Json, UtcDateTime

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "page_sessions",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("key_id", Identifier(length=36), nullable=True),
        sa.Column("organization_id", Identifier(length=36), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("capabilities", Json, nullable=False),
        sa.Column("options", Json, nullable=False),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("expires_at", UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"]),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"]),
        sa.PrimaryKeyConstraint("token_hash"),
    )
    op.create_index("ix_page_sessions_expires", "page_sessions", ["expires_at"])
    op.create_index("ix_page_sessions_organization", "page_sessions", ["organization_id"])
    op.create_table(
        "page_links",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("key_id", Identifier(length=36), nullable=True),
        sa.Column("organization_id", Identifier(length=36), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("capabilities", Json, nullable=False),
        sa.Column("options", Json, nullable=False),
        sa.Column("session_seconds", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("expires_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("used_at", UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"]),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"]),
        sa.PrimaryKeyConstraint("token_hash"),
    )
    op.create_index("ix_page_links_expires", "page_links", ["expires_at"])


def downgrade() -> None:
    op.drop_table("page_links")
    op.drop_table("page_sessions")
