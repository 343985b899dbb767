"""A test call: what an endpoint would get for an event, and what its receiver answers. Nothing of it is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sendoff.authorization.requests import SignedRequest, open_credentials, open_secrets, send_signed, sign_request
from sendoff.dialects.base import EventData
from sendoff.endpoints.manage import get_endpoint
from sendoff.endpoints.ping_limits import limit_pings
from sendoff.errors import Conflict
from sendoff.ids import new_event_id
from sendoff.policy.endpoints.expressions import Evaluated, ExpressionInput, Expressions
from sendoff.policy.endpoints.matching import OPERATIONAL_TYPES, matches
from sendoff.policy.operational_events import OPERATORS
from sendoff.publishing.evaluation import evaluate_event, expressions_of
from sendoff.publishing.event_types import check_types, look_up_publishable
from sendoff.publishing.publish import NewEvent
from sendoff.publishing.untransformed import transform_failure
from sendoff.wire.errors import WireError

if TYPE_CHECKING:
    from sendoff.context import Context
    from sendoff.store.tables import Endpoint
    from sendoff.wire.http.message import Response


@dataclass(frozen=True, slots=True)
class Trial:
    """What the event would come to. Without a match there is no request, and nothing is sent.

    `because` says why it does not match, or why its transform fails; `error` why there is no response.
    """

    matched: bool
    because: str | None
    request: SignedRequest | None = None
    response: Response | None = None
    error: str | None = None


async def try_endpoint(
    context: Context, organization_id: str, endpoint_id: str, event: NewEvent, *, dry_run: bool
) -> Trial:
    """Render and sign the event for the endpoint and, unless `dry_run`, send it once; no attempt is counted.

    Raises NotFound, UnknownEventType, UnsafeUrl, RateLimited (test calls count as pings), and Conflict when an operator
    disabled the endpoint and the event would be sent.
    """
    endpoint = await get_endpoint(context, organization_id, endpoint_id)
    if organization_id != OPERATORS or event.type not in OPERATIONAL_TYPES:
        check_types(await look_up_publishable(context, {event.type}), [event], in_batch=False)
    now = context.clock.now()
    source = ExpressionInput(new_event_id(), event.type, event.occurred_at or now, event.data)
    trial = await render_trial(context, endpoint, source)
    if dry_run or trial.request is None:
        return trial
    if endpoint.disabled_by_operator:
        raise Conflict("An operator disabled this endpoint; ask the operator of this service to enable it.")
    return await _send(context, organization_id, trial.request)


@dataclass(frozen=True, slots=True)
class ExpressionTrial:
    """What a filter and a transform make of an event. `because` says why nothing, or a dead letter, comes of it."""

    matched: bool
    because: str | None
    data: str | None = None
    """What would be sent as `data`; None if nothing would."""


async def try_expressions(
    context: Context, organization_id: str, event: NewEvent, expressions: Expressions
) -> ExpressionTrial:
    """Evaluate expressions that are not saved yet on an event of any type. Nothing is sent or stored."""
    now = context.clock.now()
    source = ExpressionInput(new_event_id(), event.type, event.occurred_at or now, event.data)
    result = (await evaluate_event(context, organization_id, source, [expressions]))[expressions]
    if not result.matches:
        return ExpressionTrial(matched=False, because=_why_filtered(result))
    if result.error is not None:
        return ExpressionTrial(matched=True, because=transform_failure(result.error))
    return ExpressionTrial(matched=True, because=None, data=result.data or event.data.decode())


async def render_trial(context: Context, endpoint: Endpoint, source: ExpressionInput) -> Trial:
    """What the endpoint would get for an event, signed now, or why it would get nothing. Sends nothing."""
    if not matches(endpoint.events, source.type):
        return Trial(matched=False, because=f"The endpoint is subscribed to {', '.join(endpoint.events[:10])}.")
    result = await _evaluate(context, endpoint, source)
    if not result.matches:
        return Trial(matched=False, because=_why_filtered(result))
    if result.error is not None:
        return Trial(matched=True, because=transform_failure(result.error))
    data = source.data if result.data is None else result.data.encode()
    return Trial(matched=True, because=None, request=_sign(context, endpoint, source, data))


def _why_filtered(result: Evaluated) -> str:
    why = "is false for it" if result.error is None else f"failed: {result.error}"
    return f"The endpoint's filter {why}."


async def _evaluate(context: Context, endpoint: Endpoint, source: ExpressionInput) -> Evaluated:
    pair = expressions_of(endpoint)
    if pair is None:
        return Evaluated()
    return (await evaluate_event(context, endpoint.organization_id, source, [pair]))[pair]


def _sign(context: Context, endpoint: Endpoint, source: ExpressionInput, data: bytes) -> SignedRequest:
    event_data = EventData(source.id, source.type, endpoint.organization_id, source.occurred_at, data)
    secrets = open_secrets(context.vault, endpoint, now=context.clock.now())
    credentials = open_credentials(context.vault, endpoint)
    return sign_request(
        context, event_data, dialect=endpoint.dialect, url=endpoint.url, secrets=secrets, credentials=credentials
    )


async def _send(context: Context, organization_id: str, request: SignedRequest) -> Trial:
    await limit_pings(context, organization_id, request.url, request.credentials)
    response, error = None, None
    try:
        response = await send_signed(
            context, request, timeout=context.settings.ping_timeout_seconds, owner=organization_id
        )
        response = request.credentials.redact_response(response)
    except WireError as failure:
        error = str(failure)
    return Trial(matched=True, because=None, request=request, response=response, error=error)
