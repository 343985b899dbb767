"""`/api/v1/portal-links` and `/api/v1/portal-sessions`: the organization's own way into the portal."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from sendoff.accounts.page_sessions import end_sessions_of
from sendoff.accounts.portal_links import (
    DEFAULT_LINK_SECONDS,
    DEFAULT_SESSION_SECONDS,
    LONGEST_LINK_SECONDS,
    LONGEST_RETURN_URL,
    LONGEST_SESSION_SECONDS,
    SHORTEST_LINK_SECONDS,
    SHORTEST_SESSION_SECONDS,
    Capability,
    NewPortalLink,
    Theme,
    create_portal_link,
)
from sendoff.context import Context

from ..http.dependencies import ContextOf, WebhooksWriter, optional_json_body
from ..http.idempotency import Write
from ..http.schemas import Time
from ..http.validation import RequestBody, Text
from ..openapi.operations import error_responses, optional_body_of

router = APIRouter(prefix="/api/v1", tags=["portal"])

_Capabilities = Annotated[
    list[Annotated[Capability, Field(strict=False)]], Field(min_length=1, max_length=len(Capability))
]


class PortalLinkOptions(RequestBody):
    """What a link to the portal opens, and for how long."""

    expires_in: int = Field(
        DEFAULT_LINK_SECONDS,
        ge=SHORTEST_LINK_SECONDS,
        le=LONGEST_LINK_SECONDS,
        description="Seconds in which the link can be opened.",
    )
    session_seconds: int = Field(
        DEFAULT_SESSION_SECONDS,
        ge=SHORTEST_SESSION_SECONDS,
        le=LONGEST_SESSION_SECONDS,
        description="Seconds for which the portal stays open afterwards.",
    )
    capabilities: _Capabilities | None = Field(
        None,
        description="What the session may do; `view` is part of each. Default: everything.",
    )
    theme: Theme | None = Field(None, strict=False, description="The colour scheme; null is the installation's.")
    return_url: Text | None = Field(
        None, max_length=LONGEST_RETURN_URL, description="Where the portal's link back leads; https."
    )

    def new_link(self) -> NewPortalLink:
        return NewPortalLink(
            capabilities=list(Capability) if self.capabilities is None else self.capabilities,
            expires_in=self.expires_in,
            session_seconds=self.session_seconds,
            theme=self.theme,
            return_url=self.return_url,
        )


class PortalLinkView(BaseModel):
    """A link that opens the portal once; anyone who has it may open it."""

    url: str
    expires_at: Time


class EndedSessions(BaseModel):
    """How many sessions of the portal ended."""

    ended: int = Field(ge=0)


def base_url(context: Context, request: Request) -> str:
    """Where customers reach this API: the setting `PUBLIC_URL`, or else as this request did."""
    return context.settings.public_url or str(request.base_url)


@router.post(
    "/portal-links",
    operation_id="createPortalLink",
    openapi_extra=optional_body_of(PortalLinkOptions),
    response_model=PortalLinkView,
    responses=error_responses(400, 409, 413, 415, 429),
)
async def create(
    auth: WebhooksWriter,
    write: Write,
    context: ContextOf,
    request: Request,
    body: Annotated[PortalLinkOptions, Depends(optional_json_body(PortalLinkOptions))],
) -> Response:
    """A link that opens the portal for the key's organization, once. Redirect the customer's browser to it."""

    async def work() -> PortalLinkView:
        link = await create_portal_link(
            context,
            auth.actor,
            body.new_link(),
            base_url=base_url(context, request),
            organization_id=auth.organization_id,
            key_id=auth.principal.key_id,
            user_id=auth.principal.user_id,
        )
        return PortalLinkView(url=link.url, expires_at=link.expires_at)

    return await write.once(auth, work, shows_secret=True)


@router.delete(
    "/portal-sessions",
    operation_id="endPortalSessions",
    response_model=EndedSessions,
    responses=error_responses(400, 409, 429),
)
async def end(auth: WebhooksWriter, write: Write, context: ContextOf) -> Response:
    """End every session of the organization's portal at once, and take back the links that were not opened yet."""
    work = partial(_end, context, auth)
    return await write.once(auth, work)


async def _end(context: Context, auth: WebhooksWriter) -> EndedSessions:
    return EndedSessions(ended=await end_sessions_of(context, auth.actor, auth.organization_id))
