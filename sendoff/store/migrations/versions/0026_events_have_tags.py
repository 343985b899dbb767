"""Events have tags, and organizations the id that the product's own backend knows them by"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from sendoff.store.engine import types
from sendoff.store.migrations.online import add_column, replace_indexes

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

_EXTERNAL = "uq_organizations_external_id"


def upgrade() -> None:
    add_column("organizations", sa.Column("external_id", sa.String(length=128), nullable=True))
    replace_indexes("organizations", new={_EXTERNAL: "(external_id)"}, unique=True)
    op.create_table(
        "event_tags",
        sa.Column("event_id", sa.String(length=28), nullable=False),
        sa.Column("tag", sa.String(length=64), nullable=False),
        sa.Column("organization_id", types.Identifier(length=36), nullable=False),
        sa.PrimaryKeyConstraint("event_id", "tag"),
    )
    op.create_index("ix_event_tags_tag", "event_tags", ["tag", "event_id"])
    op.create_index("ix_event_tags_organization", "event_tags", ["organization_id", "tag", "event_id"])


def downgrade() -> None:
    op.drop_table("event_tags")
    op.drop_index(_EXTERNAL, table_name="organizations")
    op.drop_column("organizations", "external_id")
