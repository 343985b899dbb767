"""`/operator/v1/organizations`: tenants, made by hand or by the product's own id for them, and suspended."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, Field

from sendoff.accounts import organizations
from sendoff.accounts.organizations import LONGEST_NAME
from sendoff.store.tables import Organization

from ..http.dependencies import ContextOf, Operator, OperatorReader, json_body
from ..http.idempotency import Write
from ..http.pagination import decode_cursor, split_page
from ..http.schemas import Id, Page, ResponseModel, Time
from ..http.validation import RequestBody, Text
from ..openapi.operations import body_of, error_responses
from .schemas import ListQuery

router = APIRouter(prefix="/operator/v1/organizations", tags=["operator: organizations"])

Name = Annotated[Text, Field(min_length=1, max_length=LONGEST_NAME)]
Credits = Annotated[int, Field(ge=0, le=2**63 - 1)]


class OrganizationChange(RequestBody):
    """What an organization is to be."""

    name: Name
    credits: Credits | None = Field(
        None, description="Credits for uploads; without them it has no subscription, or keeps what it has."
    )


class NewOrganization(OrganizationChange):
    """A new organization."""

    external_id: str | None = Field(None, description="What the product's own backend calls it.")


class OrganizationPatch(RequestBody):
    """What of an organization is changed."""

    credits: Credits | None = Field(description="Its balance, which starts its subscription; null ends that.")


class RemovedMember(BaseModel):
    """Who is not a member any more, and the ids of the keys that this user minted, which are revoked."""

    organization_id: Id
    user: str
    revoked_keys: list[Id]


class OrganizationView(ResponseModel):
    """A tenant. `suspended_at` is set while its keys and tokens are refused."""

    id: Id
    external_id: str | None
    name: str
    credits: int | None
    suspended_at: Time | None
    created_at: Time


@router.get("", operation_id="listOrganizations", responses=error_responses(400))
async def list_page(
    _auth: OperatorReader, context: ContextOf, query: Annotated[ListQuery, Query()]
) -> Page[OrganizationView]:
    """Organizations, newest first."""
    before = decode_cursor(query.cursor)
    found = await organizations.page_organizations(context, limit=query.limit + 1, before=before)
    page, cursor = split_page(found, query.limit, lambda organization: organization.id)
    return Page(data=[_view(one) for one in page], next_cursor=cursor)


@router.post(
    "",
    operation_id="createOrganization",
    status_code=201,
    openapi_extra=body_of(NewOrganization),
    response_model=OrganizationView,
    responses=error_responses(400, 409, 413, 415),
)
async def create(
    auth: Operator,
    write: Write,
    context: ContextOf,
    body: Annotated[NewOrganization, Depends(json_body(NewOrganization))],
) -> Response:
    """A new organization."""

    async def work() -> OrganizationView:
        return _view(await organizations.create_organization(context, auth.actor, **body.model_dump()))

    return await write.once(auth, work, status=201)


@router.get("/{organization}", operation_id="getOrganization", responses=error_responses(404))
async def get(_auth: OperatorReader, context: ContextOf, organization: str) -> OrganizationView:
    """One organization, by its id or its external id."""
    return _view(await organizations.get_organization(context, organization))


@router.put(
    "/{organization}",
    operation_id="putOrganization",
    openapi_extra=body_of(OrganizationChange),
    response_model=OrganizationView,
    responses=error_responses(400, 409, 413, 415),
)
async def put(
    auth: Operator,
    write: Write,
    context: ContextOf,
    organization: str,
    body: Annotated[OrganizationChange, Depends(json_body(OrganizationChange))],
) -> Response:
    """The organization that the product calls so: made if there is none, else given this name and these credits."""

    async def work() -> OrganizationView:
        found, _ = await organizations.put_organization(context, auth.actor, organization, **body.model_dump())
        return _view(found)

    return await write.once(auth, work)


@router.patch(
    "/{organization}",
    operation_id="updateOrganization",
    openapi_extra=body_of(OrganizationPatch),
    response_model=OrganizationView,
    responses=error_responses(400, 404, 409, 413, 415),
)
async def patch(
    auth: Operator,
    write: Write,
    context: ContextOf,
    organization: str,
    body: Annotated[OrganizationPatch, Depends(json_body(OrganizationPatch))],
) -> Response:
    """Set its credits, or end its subscription."""

    async def work() -> OrganizationView:
        found = await organizations.get_organization(context, organization)
        return _view(await organizations.set_credits(context, auth.actor, found.id, body.credits))

    return await write.once(auth, work)


@router.delete(
    "/{organization}/members/{user}",
    operation_id="removeMember",
    response_model=RemovedMember,
    responses=error_responses(400, 404, 409),
)
async def remove_member(auth: Operator, write: Write, context: ContextOf, organization: str, user: str) -> Response:
    """Remove a user, given by e-mail address, and revoke the API keys that this user minted there."""

    async def work() -> RemovedMember:
        found = await organizations.get_organization(context, organization)
        revoked = await organizations.remove_member(context, auth.actor, organization_id=found.id, email=user)
        return RemovedMember(organization_id=found.id, user=user, revoked_keys=revoked)

    return await write.once(auth, work)


@router.post(
    "/{organization}/suspend",
    operation_id="suspendOrganization",
    response_model=OrganizationView,
    responses=error_responses(400, 404, 409),
)
async def suspend(auth: Operator, write: Write, context: ContextOf, organization: str) -> Response:
    """Refuse its keys and tokens from now on. What was accepted is delivered all the same."""

    async def work() -> OrganizationView:
        found = await organizations.get_organization(context, organization)
        return _view(await organizations.suspend_organization(context, auth.actor, found.id, suspended=True))

    return await write.once(auth, work)


@router.post(
    "/{organization}/resume",
    operation_id="resumeOrganization",
    response_model=OrganizationView,
    responses=error_responses(400, 404, 409),
)
async def resume(auth: Operator, write: Write, context: ContextOf, organization: str) -> Response:
    """Take its keys and tokens again."""

    async def work() -> OrganizationView:
        found = await organizations.get_organization(context, organization)
        return _view(await organizations.suspend_organization(context, auth.actor, found.id, suspended=False))

    return await write.once(auth, work)


def _view(organization: Organization) -> OrganizationView:
    return OrganizationView.model_validate(organization)
