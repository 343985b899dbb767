"""`/operator/v1/endpoints`: everybody's endpoints, switched off and on."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from fastapi import APIRouter, Depends, Query, Response
from pydantic import Field

from sendoff.operators.actions import limit_endpoint, switch_endpoint
from sendoff.operators.queries import EndpointReport, list_all_endpoints, report_on_endpoint
from sendoff.policy.states import DeliveryState, EndpointState

from ..http.dependencies import ContextOf, Operator, OperatorReader, json_body
from ..http.idempotency import Write
from ..http.pagination import decode_cursor, split_page
from ..http.schemas import Id, Page
from ..http.validation import Text, UuidText
from ..openapi.operations import body_of, error_responses
from .schemas import EndpointLimits, ListQuery, OperatorEndpointView
from .statistics import SumsView

router = APIRouter(prefix="/operator/v1/endpoints", tags=["operator: endpoints"])


class EndpointQuery(ListQuery):
    """Which endpoints; what is left out is any."""

    organization_id: UuidText | None = None
    state: EndpointState | None = None
    url: Annotated[Text, Field(min_length=1, max_length=2_000)] | None = Field(
        None, description="Only those whose URL contains this text."
    )
    failing: bool = Field(default=False, description="Only those whose last attempt failed.")
    order: Literal["-created_at", "-consecutive_failures"] = Field(
        "-created_at", description="By failures there is one page, without a cursor."
    )


class DetailedEndpoint(OperatorEndpointView):
    """An endpoint with what waits for it. Counts end at 10,000, and then mean this many or more."""

    waiting: dict[DeliveryState, int]
    last_hour: SumsView

    @classmethod
    def of_report(cls, report: EndpointReport) -> Self:
        shown = OperatorEndpointView.of(report.endpoint).model_dump()
        return cls(**shown, waiting=dict(report.waiting), last_hour=SumsView.model_validate(report.last_hour))


@router.get("", operation_id="listEndpoints", responses=error_responses(400))
async def list_page(
    _auth: OperatorReader, context: ContextOf, query: Annotated[EndpointQuery, Query()]
) -> Page[OperatorEndpointView]:
    """Endpoints of all organizations, newest first, deleted ones as well."""
    found = await list_all_endpoints(
        context,
        organization_id=query.organization_id,
        state=query.state,
        limit=query.limit + 1,
        before=decode_cursor(query.cursor),
        url=query.url,
        failing=query.failing,
        most_failures_first=query.order == "-consecutive_failures",
    )
    page, cursor = split_page(found, query.limit, lambda endpoint: endpoint.id)
    cursor = cursor if query.order == "-created_at" else None
    return Page(data=[OperatorEndpointView.of(endpoint) for endpoint in page], next_cursor=cursor)


@router.get("/{endpoint_id}", operation_id="getEndpoint", responses=error_responses(404))
async def get(_auth: OperatorReader, context: ContextOf, endpoint_id: Id) -> DetailedEndpoint:
    """One endpoint with what waits for it and what happened at it in the last hour."""
    return DetailedEndpoint.of_report(await report_on_endpoint(context, endpoint_id))


@router.patch(
    "/{endpoint_id}",
    operation_id="limitEndpoint",
    openapi_extra=body_of(EndpointLimits),
    response_model=OperatorEndpointView,
    responses=error_responses(400, 404, 409, 413, 415),
)
async def limit(
    auth: Operator,
    write: Write,
    context: ContextOf,
    endpoint_id: Id,
    body: Annotated[EndpointLimits, Depends(json_body(EndpointLimits))],
) -> Response:
    """Limit the endpoint's deliveries per second; those above the limit wait."""

    async def work() -> OperatorEndpointView:
        limited = await limit_endpoint(context, auth.actor, endpoint_id, rate_limit=body.rate_limit)
        return OperatorEndpointView.of(limited)

    return await write.once(auth, work)


@router.post(
    "/{endpoint_id}/disable",
    operation_id="disableEndpoint",
    response_model=OperatorEndpointView,
    responses=error_responses(400, 404, 409),
)
async def disable(auth: Operator, write: Write, context: ContextOf, endpoint_id: Id) -> Response:
    """Send nothing more to it; what is open goes to the dead-letter store."""

    async def work() -> OperatorEndpointView:
        return OperatorEndpointView.of(await switch_endpoint(context, auth.actor, endpoint_id, on=False))

    return await write.once(auth, work)


@router.post(
    "/{endpoint_id}/enable",
    operation_id="enableEndpoint",
    response_model=OperatorEndpointView,
    responses=error_responses(400, 404, 409),
)
async def enable(auth: Operator, write: Write, context: ContextOf, endpoint_id: Id) -> Response:
    """Send to it again, its failures forgotten."""

    async def work() -> OperatorEndpointView:
        return OperatorEndpointView.of(await switch_endpoint(context, auth.actor, endpoint_id, on=True))

    return await write.once(auth, work)
