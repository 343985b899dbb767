"""Replays feed each endpoint what it has room for, and their items are found by endpoint"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from sendoff.store.engine import types
from sendoff.store.migrations.online import add_column, replace_indexes

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

_NEW = {"ix_replay_items_next": "(replay_id, state, endpoint_id, delivery_id)"}
_OLD = {"ix_replay_items_state": "(replay_id, state)"}


def upgrade() -> None:
    add_column("replays", sa.Column("fed", types.Json, nullable=True))
    replace_indexes("replay_items", new=_NEW, old=tuple(_OLD))


def downgrade() -> None:
    replace_indexes("replay_items", new=_OLD, old=tuple(_NEW))
    op.drop_column("replays", "fed")
