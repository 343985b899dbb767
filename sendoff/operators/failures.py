"""Failures in groups, so that an operator sees what is broken and not what it broke, one delivery after the other."""

from __future__ import annotations

from collections.abc import Sequence

from sendoff.context import Context
from sendoff.errors import Invalid
from sendoff.ids import is_uuid
from sendoff.store.queries.traffic import failures
from sendoff.store.queries.traffic.failures import FailureGroup

MOST_GROUPS = 50
"""Groups that are shown. Twice as many make the page of failures larger than 100 kB."""


async def list_failures(
    context: Context, *, endpoint_id: str | None = None, limit: int = MOST_GROUPS
) -> Sequence[FailureGroup]:
    """The largest groups of what failed last: open dead letters, and deliveries that wait for a retry.

    Raises Invalid for an id that is not a UUID.
    """
    if endpoint_id is not None and not is_uuid(endpoint_id):
        raise Invalid("`endpoint_id` is not a UUID; copy it from the list of endpoints.", field="endpoint_id")
    async with context.database.read() as tx:
        return await failures.group_failures(tx, endpoint_id=endpoint_id, limit=limit)
