"""A test call: what an endpoint would get for an event, and what its receiver answers. Nothing of it is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sendoff.delivery.pipeline import open_secrets
from sendoff.dialects.base import AttemptInfo, EventData, Headers
from sendoff.endpoints.manage import get_endpoint
from sendoff.endpoints.ping_limits import limit_pings
from sendoff.errors import Conflict
from sendoff.ids import new_event_id, new_id
from sendoff.policy.addresses import check_url
from sendoff.policy.expressions import Evaluated, ExpressionInput
from sendoff.policy.matching import matches
from sendoff.publishing.evaluation import EvaluationJob, evaluate, pair_of
from sendoff.publishing.event_types import check_types, look_up_publishable
from sendoff.publishing.publish import NewEvent
from sendoff.wire.errors import WireError
from sendoff.wire.http.message import encode_headers

if TYPE_CHECKING:
    from sendoff.context import Context
    from sendoff.store.tables import Endpoint
    from sendoff.wire.http.message import Response


@dataclass(frozen=True, slots=True)
class TrialRequest:
    """The request that the event makes."""

    url: str
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class Trial:
    """What the event would come to. Without a match there is no request, and nothing is sent.

    `because` says why it does not match, or why its transform fails; `error` why there is no response.
    """

    matched: bool
    because: str | None
    request: TrialRequest | None = None
    response: Response | None = None
    error: str | None = None


async def try_endpoint(
    context: Context, organization_id: str, endpoint_id: str, event: NewEvent, *, dry_run: bool
) -> Trial:
    """Render and sign the event for the endpoint and, unless `dry_run`, send it once; no attempt is counted.

    Raises NotFound, UnknownEventType, UnsafeUrl, RateLimited (test calls count as pings), and Conflict when an operator
    disabled the endpoint or its receiver answered 410.
    """
    endpoint = await get_endpoint(context, organization_id, endpoint_id)
    check_types(await look_up_publishable(context, {event.type}), [event], in_batch=False)
    now = context.clock.now()
    source = ExpressionInput(new_event_id(), event.type, event.occurred_at or now, event.data)
    if not matches(endpoint.events, event.type):
        return Trial(matched=False, because=f"The endpoint is subscribed to {', '.join(endpoint.events[:10])}.")
    result = await _evaluate(context, endpoint, source)
    if not result.matches:
        why = "is false for it" if result.error is None else f"failed: {result.error}"
        return Trial(matched=False, because=f"The endpoint's filter {why}.")
    if result.error is not None:
        return Trial(matched=True, because=f"The endpoint's transform failed: {result.error}.")
    data = event.data if result.data is None else result.data.encode()
    request = _render(context, endpoint, source, data)
    if dry_run:
        return Trial(matched=True, because=None, request=request)
    if endpoint.disabled_by_operator:
        raise Conflict("An operator disabled this endpoint; ask the operator of this service to enable it.")
    return await _send(context, organization_id, request)


async def _evaluate(context: Context, endpoint: Endpoint, source: ExpressionInput) -> Evaluated:
    pair = pair_of(endpoint)
    if pair is None:
        return Evaluated()
    results = await evaluate(context, endpoint.organization_id, [EvaluationJob(source, [pair])])
    return results[source.id, pair]


def _render(context: Context, endpoint: Endpoint, source: ExpressionInput, data: bytes) -> TrialRequest:
    dialect = context.dialects.get(endpoint.dialect)
    occurrence = EventData(source.id, source.type, endpoint.organization_id, source.occurred_at, data)
    body = dialect.body(occurrence)
    now = context.clock.now()
    sending = AttemptInfo(delivery_id=new_id(), attempt=1, timestamp=int(now.timestamp()))
    headers = dialect.headers(occurrence, sending, body, open_secrets(context.vault, endpoint, now=now))
    return TrialRequest(endpoint.url, headers, body)


async def _send(context: Context, organization_id: str, request: TrialRequest) -> Trial:
    await limit_pings(context, organization_id, request.url)
    target = check_url(request.url, context.addresses)
    response, error = None, None
    try:
        response = await context.wire.send(
            target,
            encode_headers(request.headers),
            request.body,
            timeout=context.settings.ping_timeout_seconds,
            owner=organization_id,
        )
    except WireError as failure:
        error = str(failure)
    return Trial(matched=True, because=None, request=request, response=response, error=error)
