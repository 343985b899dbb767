"""Uploads keep how many bytes are stored of them, for the quota of their organization"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_STORED = sa.text("stored_bytes > 0")


def upgrade() -> None:
    # More than 0, which means that there are no files: an API of the version before may go on inserting for a while.
    op.add_column("uploads", sa.Column("stored_bytes", sa.BigInteger(), nullable=False, server_default="1"))
    # The results of earlier uploads were not measured; they are counted as nothing until their retention ends.
    op.execute(
        "UPDATE uploads SET stored_bytes = CASE WHEN status IN ('cancelled', 'failed') THEN 0 ELSE file_size_bytes END"
    )
    op.create_index(
        "ix_uploads_stored",
        "uploads",
        ["organization_id", "stored_bytes"],
        postgresql_where=_STORED,
        sqlite_where=_STORED,
    )


def downgrade() -> None:
    op.drop_index("ix_uploads_stored", table_name="uploads")
    op.drop_column("uploads", "stored_bytes")
