"""Help with signatures: what is wrong with a request that a customer's receiver got. Nothing of it is stored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sendoff.authorization.requests import open_secrets
from sendoff.dialects.base import EventData
from sendoff.dialects.signing import PRIVATE_PREFIX, public_key
from sendoff.endpoints.explanation_task import BrandedScheme, ExplainSignature
from sendoff.endpoints.manage import find_endpoint
from sendoff.errors import TooLarge, Unprocessable
from sendoff.ids import is_event_id
from sendoff.policy.states import EndpointState
from sendoff.sandbox import Sandbox
from sendoff.store.queries import endpoints
from sendoff.store.queries.traffic import delivery_history, events
from sendoff.verify import SCHEMES, TOLERANCE_SECONDS, Explanation

if TYPE_CHECKING:
    from sendoff.context import Context
    from sendoff.store.engine.database import Transaction
    from sendoff.store.tables import Endpoint

MOST_BYTES = 64 * 1024
"""Bytes of headers, and of a body. Larger ones take longer to try mistakes on; the largest takes some 50 ms."""

_MOST_OTHERS = 50
"""Other endpoints whose secrets are tried, newest first."""

_CPU_SECONDS, _SECONDS = 1.0, 5.0


@dataclass(frozen=True, slots=True)
class PastedRequest:
    """A request as a customer has it. Without `received_at`, its age is not judged."""

    headers: Mapping[str, str]
    body: bytes
    received_at: datetime | None = None
    computed: str | None = None
    """The signature that the receiver's own code calculated."""


async def explain_request(
    context: Context, organization_id: str, endpoint_id: str, pasted: PastedRequest
) -> Explanation:
    """Check it with the endpoint's secrets, compare it with what was sent, and try the usual mistakes.

    Raises NotFound, TooLarge, and Unprocessable for an endpoint of a dialect that has no verifier here.
    """
    headers = {name.lower(): value for name, value in pasted.headers.items()}
    if max(len(pasted.body), sum(map(len, headers.values()))) > MOST_BYTES:
        raise TooLarge(f"Paste at most {MOST_BYTES:,} bytes of headers and of body; a smaller event shows the same.")
    async with context.database.read() as tx:
        endpoint = await find_endpoint(tx, organization_id, endpoint_id)
        sent_body = await _find_sent_body(tx, context, endpoint, headers, pasted.body)
        page = await endpoints.page(tx, limit=_MOST_OTHERS, organization_id=organization_id)
    if endpoint.dialect != "default" and endpoint.dialect not in SCHEMES:
        raise Unprocessable(f"There is no verifier for the dialect {endpoint.dialect}; see its documentation.")
    current, *previous = _receivers_secrets(context, endpoint)
    others = [one for one in page if one.id != endpoint.id and one.state != EndpointState.DELETED]
    received_at = pasted.received_at or context.clock.now()
    own = context.dialects.default
    task = ExplainSignature(
        dialect=endpoint.dialect,
        own=BrandedScheme(own.brand, own.scheme, own.prefix, own.signature_name),
        headers=headers,
        body=pasted.body,
        secrets={"Current secret": current, **dict(zip(["Previous secret"], previous, strict=False))},
        others={one.url: _receivers_secrets(context, one)[0] for one in others},
        tolerance=TOLERANCE_SECONDS if pasted.received_at else float(2**40),
        now=received_at.timestamp(),
        computed=pasted.computed,
        sent_body=sent_body,
    )
    sandbox = context.service(Sandbox.of)
    return await sandbox.run(task, organization_id=organization_id, cpu_seconds=_CPU_SECONDS, seconds=_SECONDS)


def _receivers_secrets(context: Context, endpoint: Endpoint) -> Sequence[str]:
    """What the receiver checks signatures with, newest first."""
    secrets = open_secrets(context.vault, endpoint, now=context.clock.now())
    return [public_key(secret) if secret.startswith(PRIVATE_PREFIX) else secret for secret in secrets]


async def _find_sent_body(
    tx: Transaction, context: Context, endpoint: Endpoint, headers: Mapping[str, str], body: bytes
) -> bytes | None:
    """The body that the endpoint was sent for the event that the request names, while the event is kept."""
    event_id = _find_event_id(headers, body)
    event = await events.find(tx, event_id) if event_id is not None else None
    if event is None or event.organization_id != endpoint.organization_id:
        return None
    made = [one for one in await delivery_history.of_event(tx, event.id) if one.endpoint_id == endpoint.id]
    if not made:
        return None
    data = (event.data if made[0].data is None else made[0].data).encode()
    event_data = EventData(event.id, event.type, event.organization_id, event.occurred_at, data)
    return context.dialects.get(endpoint.dialect).body(event_data)


def _find_event_id(headers: Mapping[str, str], body: bytes) -> str | None:
    """The first event id in the headers, or else the `id` of the body."""
    named = [value for name, value in headers.items() if name == "webhook-id" or name.endswith("event-id")]
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        parsed = None
    if isinstance(parsed, dict):
        named.append(str(parsed.get("id")))
    return next((one for one in named if is_event_id(one)), None)
