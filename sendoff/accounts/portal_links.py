"""Links to the customers' portal: they open it once for one organization, with the rights that the link names.

The product's backend makes one for a customer who is logged in there, and redirects the browser to it. A session ends
with its time, with the key that made the link, with the suspension of the organization, and on request.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from urllib.parse import urlencode, urlsplit

from sendoff.accounts.page_sessions import NewLink, Session, SessionKind, create_link
from sendoff.audit import Actor
from sendoff.context import Context
from sendoff.errors import Invalid, NotFound, Suspended
from sendoff.ids import is_uuid
from sendoff.policy.operational_events import OPERATORS
from sendoff.server_urls.database import is_loopback
from sendoff.store.queries import accounts

ENTRANCE = "/portal/enter"

SHORTEST_LINK_SECONDS, LONGEST_LINK_SECONDS = 60, 86_400
DEFAULT_LINK_SECONDS = 600
"""How long a link waits to be opened. A longer time leaves one that was logged or forwarded usable for longer."""

SHORTEST_SESSION_SECONDS, LONGEST_SESSION_SECONDS = 60, 30 * 86_400
DEFAULT_SESSION_SECONDS = 12 * 3600
"""How long the portal stays open. A longer time leaves a forgotten browser open for longer."""

LONGEST_RETURN_URL = 2_000
"""Characters. Longer URLs fail in some browsers and proxies."""


class Capability(StrEnum):
    """What a session of the portal may do."""

    VIEW = "view"
    """See endpoints, deliveries and event types, without bodies and headers."""
    MANAGE = "manage"
    """Add, change, pause and delete endpoints."""
    RESEND = "resend"
    """Send deliveries again, one by one or all that failed."""
    TEST = "test"
    """Send test events."""
    SECRETS = "secrets"
    """Rotate signing secrets, and see whole signatures in the signature helper."""
    PAYLOADS = "payloads"
    """See the bodies and headers of requests and responses."""


class Theme(StrEnum):
    """The colour scheme of the pages; `auto` is the browser's."""

    AUTO = "auto"
    LIGHT = "light"
    DARK = "dark"


@dataclass(frozen=True, slots=True)
class NewPortalLink:
    """What a link opens. `view` is part of every link."""

    capabilities: Collection[Capability] = tuple(Capability)
    expires_in: int = DEFAULT_LINK_SECONDS
    session_seconds: int = DEFAULT_SESSION_SECONDS
    theme: Theme | None = None
    """None is the installation's."""
    return_url: str | None = None
    """Where the portal's link back leads."""


@dataclass(frozen=True, slots=True)
class PortalLink:
    """A link, shown this once: anyone who has it may open it."""

    url: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"PortalLink(expires_at={self.expires_at!r})"


async def create_portal_link(
    context: Context,
    actor: Actor,
    new: NewPortalLink,
    *,
    base_url: str,
    organization_id: str,
    key_id: str | None = None,
    user_id: str | None = None,
    email: str | None = None,
) -> PortalLink:
    """A link below `base_url` that opens the portal of the organization once.

    `key_id` is the API key that it ends with. Endpoints that are registered in the portal are those of `user_id`, or
    else of the member with the e-mail address, or else of the organization's first member.
    Raises NotFound, Suspended, and Invalid for a value that is out of its bounds.
    """
    _check(new)
    user = user_id or await _find_user(context, organization_id, email)
    chosen = {"theme": new.theme, "return_url": new.return_url, "user_id": user}
    link = NewLink(
        SessionKind.PORTAL,
        sorted({Capability.VIEW, *new.capabilities}),
        expires_seconds=new.expires_in,
        session_seconds=new.session_seconds,
        key_id=key_id,
        organization_id=organization_id,
        options={name: str(value) for name, value in chosen.items() if value is not None},
    )
    token, expires_at = await create_link(context, actor, link)
    return PortalLink(f"{base_url.rstrip('/')}{ENTRANCE}?{urlencode({'t': token})}", expires_at)


@dataclass(frozen=True, slots=True)
class PortalUser:
    """Whose endpoints a session registers."""

    organization_id: str
    user_id: str | None

    @classmethod
    def of(cls, session: Session) -> PortalUser:
        return cls(session.organization_id or "", session.options.get("user_id"))


async def _find_user(context: Context, organization_id: str, email: str | None) -> str | None:
    async with context.database.read() as tx:
        organization = await accounts.find_organization(tx, organization_id) if is_uuid(organization_id) else None
        if organization is None or organization.id == OPERATORS:
            raise NotFound(f"There is no organization {organization_id}.")
        if organization.suspended_at is not None:
            raise Suspended
        found = await accounts.find_member(tx, organization.id, email)
    if found is None and email is not None:
        raise Invalid(f"{email!r} is not a member of this organization; leave `user` out.", field="user")
    return found


def _check(new: NewPortalLink) -> None:
    _check_seconds("expires_in", new.expires_in, SHORTEST_LINK_SECONDS, LONGEST_LINK_SECONDS)
    _check_seconds("session_seconds", new.session_seconds, SHORTEST_SESSION_SECONDS, LONGEST_SESSION_SECONDS)
    if new.return_url is not None:
        _check_return_url(new.return_url)


def _check_seconds(field: str, seconds: int, least: int, most: int) -> None:
    if not least <= seconds <= most:
        raise Invalid(f"`{field}` is {seconds:,}; give {least:,} to {most:,} seconds.", field=field)


def _check_return_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
        is_usable = is_usable and bool(parts.hostname) and parts.username is None
    except ValueError:
        is_usable = False
    if not is_usable or len(url) > LONGEST_RETURN_URL or not url.isprintable():
        message = (
            f"`return_url` must be an https URL of at most {LONGEST_RETURN_URL:,} characters, without credentials."
        )
        raise Invalid(message, field="return_url")
