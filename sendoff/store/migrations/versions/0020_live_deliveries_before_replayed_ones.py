"""Held deliveries are found in the order in which they are claimed: live ones before replayed ones"""

from __future__ import annotations

from sendoff.store.migrations.online import replace_indexes

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    new = {"ix_deliveries_held_in_turn": "(endpoint_id, (replay_id IS NOT NULL), id) WHERE state = 'held'"}
    replace_indexes("deliveries", new=new, old=("ix_deliveries_held",))


def downgrade() -> None:
    new = {"ix_deliveries_held": "(endpoint_id, id) WHERE state = 'held'"}
    replace_indexes("deliveries", new=new, old=("ix_deliveries_held_in_turn",))
