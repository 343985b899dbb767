"""Rotate the signing secret of an endpoint: a new one signs from now on, together with the former one for a while.

During the overlap each delivery carries both signatures, newest first, so that the receiver can change over whenever it
likes. A second rotation within the overlap ends the oldest secret at once: no more than two ever sign.
"""

from __future__ import annotations

from datetime import timedelta

from sendoff.audit import Actor, write_audit
from sendoff.clock import iso
from sendoff.context import Context
from sendoff.endpoints.manage import RegisteredEndpoint, find_endpoint
from sendoff.policy.operational_events import OperationalEventType
from sendoff.store.queries import operational_events
from sendoff.store.queries.operational_events import NewOperationalEvent

LONGEST_OVERLAP_SECONDS = 30 * 24 * 3600
"""Seconds that a former secret may sign as well. A leaked secret stays valid for as long."""


async def rotate_secret(
    context: Context, organization_id: str, actor: Actor, endpoint_id: str, *, overlap_seconds: float | None = None
) -> RegisteredEndpoint:
    """The endpoint with its new secret, which is shown this once.

    `overlap_seconds` None means the setting `SECRET_OVERLAP_SECONDS`; 0 ends the secret before at once, for one that
    somebody else knows. Raises NotFound.
    """
    overlap = context.settings.secret_overlap_seconds if overlap_seconds is None else overlap_seconds
    async with context.database.write() as tx:
        endpoint = await find_endpoint(tx, organization_id, endpoint_id, lock=True)
        now = context.clock.now()
        secret = context.dialects.get(endpoint.dialect).new_secret()
        endpoint.previous_secret = endpoint.secret if overlap > 0 else None
        endpoint.previous_secret_until = now + timedelta(seconds=overlap) if overlap > 0 else None
        endpoint.secret = context.vault.seal(secret, bound_to=endpoint.id)
        endpoint.updated_at = now
        write_audit(
            tx,
            actor,
            "endpoint.rotate_secret",
            target=("endpoint", endpoint.id),
            now=now,
            organization_id=endpoint.organization_id,
            after={"previous_signs_until": iso(endpoint.previous_secret_until or now)},
        )
        facts = {"actor": actor.name, "previous_signs_until": iso(endpoint.previous_secret_until or now)}
        rotated = NewOperationalEvent(
            OperationalEventType.SECRET_ROTATED, now, endpoint.organization_id, endpoint.id, facts=facts
        )
        await operational_events.add(tx, rotated)
    return RegisteredEndpoint(endpoint, secret)
