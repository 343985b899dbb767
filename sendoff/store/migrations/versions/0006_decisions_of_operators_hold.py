"""An operator's disable and rate limit stand apart from the owner's settings"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# The worker disables for failures; every other actor of an `endpoint.disable` was an operator.
_MARK = """
    UPDATE endpoints SET disabled_by_operator = {true} WHERE state = 'disabled' AND (
        SELECT a.actor FROM audit_entries a
        WHERE a.organization_id = endpoints.organization_id AND a.action = 'endpoint.disable'
            AND a.target_id = {id}
        ORDER BY a.id DESC LIMIT 1
    ) <> 'worker'
"""


def upgrade() -> None:
    op.add_column(
        "endpoints", sa.Column("disabled_by_operator", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("endpoints", sa.Column("operator_rate_limit", sa.Integer(), nullable=True))
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_MARK.format(true="TRUE", id="CAST(endpoints.id AS text)"))
    else:
        op.execute(_MARK.format(true=1, id="endpoints.id"))


def downgrade() -> None:
    op.drop_column("endpoints", "operator_rate_limit")
    op.drop_column("endpoints", "disabled_by_operator")
