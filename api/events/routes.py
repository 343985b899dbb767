"""`/api/v1/events`: publishing, for the product's backend (Sendoff contract, "Publishing").

The two publishing routes are hot: plain Starlette routes that decode with msgspec, and leave `data` the bytes it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sendoff.accounts.authentication import EVENTS_WRITE, answered_in_time, bearer_key
from sendoff.clock import iso
from sendoff.context import Context
from sendoff.errors import SendoffError
from sendoff.idempotency import IdempotentRequest, StoredResponse, fingerprint
from sendoff.observability.metrics import EVENTS_ACCEPTED
from sendoff.observability.tracing import Tracer, trace_context
from sendoff.publishing.batcher import PublishBatcher
from sendoff.publishing.history import get_event
from sendoff.publishing.incoming.cloud_events import CloudEvent, read_cloud_batch
from sendoff.publishing.incoming.event_bodies import SLICE_BYTES, read_batch, read_event
from sendoff.publishing.once import KeyedEvent, publish_each_once
from sendoff.publishing.publish import AcceptedEvent, NewEvent, publish
from sendoff.store.engine.database import ANSWER_SECONDS
from sendoff.store.tables import Delivery, Event

from ..http.authentication import RequestAuth, authenticate_request, context_of, refuse_key_in_url
from ..http.bodies import read_json_bytes
from ..http.dependencies import ContextOf, EventsWriter, idempotency_key
from ..http.idempotency import respond
from ..http.server.byte_budget import OrganizationByteBudget
from ..http.server.middleware import BATCH_LIMIT_BYTES
from ..http.validation import check_query
from ..openapi.operations import error_responses
from .cloud_events import is_cloud_batch, is_cloud_event, read_cloud_event
from .schemas import EventDelivery, EventWithDeliveries

Answer = Callable[[list[AcceptedEvent]], Any]
Read = Callable[[bytes], Awaitable[list[NewEvent]]]

PROCESS_BODY_BYTES = 3 * BATCH_LIMIT_BYTES
"""Bytes of large bodies, and of those with an Idempotency-Key, in progress at once. Each byte takes about six in memory
while its events are inserted; with less than twice the largest batch no organization could send one."""

router = APIRouter(tags=["events"])


async def publish_one(request: Request) -> Response:
    """202 after the event and its deliveries are committed."""
    if is_cloud_event(request.headers):
        return await _publish_cloud_events(request)
    return await _publish(
        request,
        read=_read_one,
        answer=_answer_one,
        in_batch=False,
    )


async def publish_batch(request: Request) -> Response:
    """202 after all of the events are committed; none of them is if one is refused."""
    if is_cloud_batch(request.headers):
        return await _publish_cloud_events(request)
    data_limit = context_of(request).settings.body_limit_bytes
    return await _publish(
        request,
        read=lambda body: read_batch(body, data_limit=data_limit),
        answer=_answer_each,
        in_batch=True,
    )


PUBLISHING = (
    Route("/api/v1/events", publish_one, methods=["POST"], include_in_schema=False),
    Route("/api/v1/events/batch", publish_batch, methods=["POST"], include_in_schema=False),
)
"""To stand before all other routes, which would be tried one after the other first."""


@router.get(
    "/api/v1/events/{event_id}",
    operation_id="getEvent",
    responses=error_responses(404),
    response_model=EventWithDeliveries,
)
async def get(auth: EventsWriter, context: ContextOf, event_id: str) -> Response:
    """An event, and the state of each of its deliveries."""
    event, deliveries, tags = await get_event(context, auth.organization_id, event_id)
    return Response(orjson.dumps(_serialize(event, deliveries, tags)), media_type="application/json")


async def _read_one(body: bytes) -> list[NewEvent]:
    return [read_event(body)]


async def _publish(request: Request, *, read: Read, answer: Answer, in_batch: bool) -> Response:
    trace, tracer = _trace_of(request), context_of(request).tracer
    if tracer is None:
        if trace is not None:
            read = _traced(read, trace)
        return await _publish_read(request, read=read, answer=answer, in_batch=in_batch)
    with _publish_span(request, tracer, trace) as own:
        return await _publish_read(request, read=_traced(read, own), answer=answer, in_batch=in_batch)


def _trace_of(request: Request) -> str | None:
    """The trace context that the request's headers name."""
    traceparent = request.headers.get("traceparent")
    return None if traceparent is None else trace_context(traceparent, ",".join(request.headers.getlist("tracestate")))


@contextmanager
def _publish_span(request: Request, tracer: Tracer, parent: str | None) -> Iterator[str]:
    """A span of the publishing within the block; yields the trace context of what is published."""
    span = tracer.begin("publish", parent, kind="server")
    problem: str | None = "it ended without an answer"
    try:
        yield span.trace_context
        problem = None
    except SendoffError as error:
        problem = type(error).__name__
        raise
    finally:
        span.end({"sendoff.request_id": request.state.request_id}, error=problem)


def _traced(read: Read, trace: str) -> Read:
    """Reads the same events, which then belong to the span."""

    async def read_traced(body: bytes) -> list[NewEvent]:
        return [replace(event, traceparent=trace) for event in await read(body)]

    return read_traced


async def _publish_read(request: Request, *, read: Read, answer: Answer, in_batch: bool) -> Response:
    if idempotency_key(request) is not None or not _is_small(request):
        auth, left = await _authenticate_publisher(request)
        check_query(request)
        with context_of(request).service(_bodies_in_progress).held(auth.organization_id) as count:
            body = await read_json_bytes(request, count=count)
            events, idempotent = await read(body), await _idempotent(request, auth, body)
            return await _publish_alone(
                request, auth, events, idempotent=idempotent, answer=answer, in_batch=in_batch, within=left
            )
    refuse_key_in_url(request)
    authorization = request.headers.get("authorization")
    bearer_key(authorization)  # without a key nothing is read
    try:
        check_query(request)
        events = await read(await read_json_bytes(request))
    except SendoffError:
        await _authenticate_publisher(request)  # 401 and 403 come before any error of the body
        raise
    accepted = await _acceptance_of(request).publish(
        authorization, events, request_id=request.state.request_id, in_batch=in_batch
    )
    request.state.is_authenticated = True
    EVENTS_ACCEPTED.inc(len(accepted))
    return Response(orjson.dumps(answer(accepted)), 202, media_type="application/json")


async def _publish_cloud_events(request: Request) -> Response:
    """Publish one or a batch: each once for its source and id, or all for the Idempotency-Key if there is one."""
    auth, left = await _authenticate_publisher(request)
    check_query(request)
    in_batch = is_cloud_batch(request.headers)
    with context_of(request).service(_bodies_in_progress).held(auth.organization_id) as count:
        body = await read_json_bytes(request, optional=not in_batch, count=count, takes=lambda _: True)
        if in_batch:
            found = await read_cloud_batch(body, data_limit=context_of(request).settings.body_limit_bytes)
        else:
            found = [read_cloud_event(request.headers, body)]
        idempotent = await _idempotent(request, auth, body)
        trace, tracer = _trace_of(request), context_of(request).tracer
        keeps_own = in_batch and trace is None  # its events come from different traces
        parent = trace if in_batch else trace or found[0].event.traceparent
        with nullcontext(parent) if tracer is None else _publish_span(request, tracer, parent) as own:
            found = [one if keeps_own and one.event.traceparent else one.within(own) for one in found]
            if idempotent is None:
                return await _publish_each_once(request, auth, found, in_batch=in_batch, within=left)
            events = [one.event for one in found]
            answer = _answer_each if in_batch else _answer_one
            return await _publish_alone(
                request, auth, events, idempotent=idempotent, answer=answer, in_batch=in_batch, within=left
            )


async def _authenticate_publisher(request: Request) -> tuple[RequestAuth, float]:
    """Who publishes, and the seconds that are left to commit: those that its authentication took count.

    Those in which the client sends its body do not.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with answered_in_time():  # others of its key may all wait for the database
        auth = await authenticate_request(request, EVENTS_WRITE, counts_as_write=False)
    return auth, ANSWER_SECONDS - (loop.time() - began)


async def _publish_each_once(
    request: Request, auth: RequestAuth, found: Sequence[CloudEvent], *, in_batch: bool, within: float
) -> Response:
    """Publish those whose source and id are new. A single one that is not is answered as a repetition."""
    answers = await publish_each_once(
        context_of(request),
        auth.organization_id,
        [KeyedEvent(one.event, one.key) for one in found],
        answer=lambda accepted: orjson.dumps(_accepted(accepted)),
        request_id=auth.request_id,
        in_batch=in_batch,
        within=within,
    )
    EVENTS_ACCEPTED.inc(sum(not one.replayed for one in answers))
    if not in_batch:
        return respond(answers[0])
    body = orjson.dumps({"events": [orjson.Fragment(one.body) for one in answers]})
    return respond(StoredResponse(202, body, replayed=all(one.replayed for one in answers)))


def _acceptance_of(request: Request) -> PublishBatcher:
    """The process's line of publishes; a new one when the context is another."""
    state, context = request.app.state, context_of(request)
    current: PublishBatcher | None = getattr(state, "acceptance", None)
    if current is None or current.context is not context:
        current = state.acceptance = PublishBatcher(context)
    return current


def _bodies_in_progress(_context: Context) -> OrganizationByteBudget:
    return OrganizationByteBudget(PROCESS_BODY_BYTES, share=BATCH_LIMIT_BYTES + 1024 * 1024, what="events")


def _is_small(request: Request) -> bool:
    """Whether the body may be read before its sender is known."""
    length = request.headers.get("content-length", "")
    return length.isdigit() and int(length) <= context_of(request).settings.body_limit_bytes


async def _publish_alone(
    request: Request,
    auth: RequestAuth,
    events: Sequence[NewEvent],
    *,
    idempotent: IdempotentRequest | None,
    answer: Answer,
    in_batch: bool,
    within: float,
) -> Response:
    done: list[AcceptedEvent] = []

    def store(accepted: list[AcceptedEvent]) -> StoredResponse:
        done.extend(accepted)
        return StoredResponse(202, orjson.dumps(answer(accepted)))

    stored = await publish(
        context_of(request),
        auth.organization_id,
        events,
        answer=store,
        request_id=auth.request_id,
        idempotent=idempotent,
        in_batch=in_batch,
        within=within,
    )
    EVENTS_ACCEPTED.inc(len(done))
    return respond(stored)


async def _idempotent(request: Request, auth: RequestAuth, body: bytes) -> IdempotentRequest | None:
    key = idempotency_key(request)
    if key is None:
        return None
    parts = (request.method.encode(), request.url.path.encode(), body)
    # Hashing releases the interpreter's lock, so a thread keeps a large batch off the event loop.
    asked = fingerprint(*parts) if len(body) <= SLICE_BYTES else await asyncio.to_thread(fingerprint, *parts)
    return IdempotentRequest(auth.organization_id, key, asked)


def _answer_one(accepted: list[AcceptedEvent]) -> dict[str, Any]:
    return _accepted(accepted[0])


def _answer_each(accepted: list[AcceptedEvent]) -> dict[str, Any]:
    return {"events": [*map(_accepted, accepted)]}


def _accepted(event: AcceptedEvent) -> dict[str, Any]:
    return {"id": event.id, "type": event.type, "deliveries": len(event.delivery_ids)}


def _serialize(event: Event, deliveries: Sequence[Delivery], tags: Sequence[str]) -> dict[str, Any]:
    return {
        "id": event.id,
        "type": event.type,
        "occurred_at": iso(event.occurred_at),
        "created_at": iso(event.created_at),
        "request_id": event.request_id,
        "tags": list(tags),
        "data": orjson.Fragment(event.data),
        "deliveries": [_serialize_delivery(delivery) for delivery in deliveries],
    }


def _serialize_delivery(delivery: Delivery) -> dict[str, Any]:
    fields = {name: getattr(delivery, name) for name in EventDelivery.model_fields}
    return {name: iso(value) if isinstance(value, datetime) else value for name, value in fields.items()}
