"""Uploads keep how many bytes are stored of them, for the quota of their organization"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from sendoff.store.migrations.online import add_column, replace_indexes, update_in_batches

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # More than 0, which means that there are no files: an API of the version before may go on inserting for a while.
    add_column("uploads", sa.Column("stored_bytes", sa.BigInteger(), nullable=False, server_default="1"))
    # The results of earlier uploads were not measured; they are counted as nothing until their retention ends.
    measured = "CASE WHEN status IN ('cancelled', 'failed') THEN 0 ELSE file_size_bytes END"
    update_in_batches("uploads", f"stored_bytes = {measured}", where="stored_bytes = 1")
    replace_indexes("uploads", new={"ix_uploads_stored": "(organization_id, stored_bytes) WHERE stored_bytes > 0"})


def downgrade() -> None:
    op.drop_index("ix_uploads_stored", table_name="uploads")
    op.drop_column("uploads", "stored_bytes")
