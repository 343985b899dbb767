"""`/operator/v1/portal-links`: a link to the portal of any organization, such as to see what a customer sees."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field

from sendoff.accounts.portal_links import create_portal_link

from ..customers.portal_links import PortalLinkOptions, PortalLinkView, base_url
from ..http.dependencies import ContextOf, Operator, json_body
from ..http.idempotency import Write
from ..http.validation import Text, UuidText
from ..openapi.operations import body_of, error_responses

router = APIRouter(prefix="/operator/v1/portal-links", tags=["operator: organizations"])


class OperatorPortalLinkOptions(PortalLinkOptions):
    """What a link to the portal opens, and for which organization."""

    organization_id: UuidText
    user: Text | None = Field(
        None, description="The e-mail address of the member whose endpoints it registers; null is the first member."
    )


@router.post(
    "",
    operation_id="createPortalLinkForOrganization",
    openapi_extra=body_of(OperatorPortalLinkOptions),
    response_model=PortalLinkView,
    responses=error_responses(400, 404, 409, 413, 415),
)
async def create(
    auth: Operator,
    write: Write,
    context: ContextOf,
    request: Request,
    body: Annotated[OperatorPortalLinkOptions, Depends(json_body(OperatorPortalLinkOptions))],
) -> Response:
    """A link that opens the portal of the organization, once. It ends with the operator's key."""

    async def work() -> PortalLinkView:
        link = await create_portal_link(
            context,
            auth.actor,
            body.new_link(),
            base_url=base_url(context, request),
            organization_id=body.organization_id,
            key_id=auth.principal.key_id,
            email=body.user,
        )
        return PortalLinkView(url=link.url, expires_at=link.expires_at)

    return await write.once(auth, work, shows_secret=True)
