"""Alert endpoints: where operational events go. They are endpoints of the operators' own organization."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from sendoff.audit import Actor
from sendoff.context import Context
from sendoff.endpoints.fields import NewAlertEndpoint
from sendoff.endpoints.manage import (
    EndpointChange,
    RegisteredEndpoint,
    delete_endpoint,
    get_endpoint,
    register_endpoint,
    update_endpoint,
)
from sendoff.endpoints.secrets import rotate_secret
from sendoff.endpoints.trial import Trial, try_endpoint
from sendoff.errors import Invalid, NotFound
from sendoff.policy.endpoints.addresses import MAILTO
from sendoff.policy.endpoints.matching import ALL_TYPES
from sendoff.policy.operational_events import OPERATORS, OPERATORS_NAME, OperationalEventType
from sendoff.publishing.publish import NewEvent
from sendoff.store.engine.database import Transaction
from sendoff.store.queries import accounts, endpoints
from sendoff.store.tables import Endpoint, Organization

EMAIL = "email"

_EXAMPLE = {
    "organization_id": "0199c5a0-7b4e-7c00-8000-000000000000",
    "organization_name": "Example",
    "endpoint_id": "0199c5a0-7b4e-7c00-8000-000000000001",
    "endpoint_url": "https://hooks.example.com/sendoff",
    "state": "disabled",
    "reason": "too_many_failures",
    "consecutive_failures": 20,
    "last_response_status": 503,
    "last_error": "This is a test. Nothing has happened.",
}


@dataclass(frozen=True, slots=True)
class _Operators:
    """The owner of alert endpoints."""

    organization_id: str = OPERATORS
    user_id: None = None


async def create_alert_endpoint(context: Context, actor: Actor, new: NewAlertEndpoint) -> RegisteredEndpoint:
    """Check the URL, send it a ping, and only then save the alert endpoint; of all events and organizations by default.

    A `mailto:` URL means the dialect `email`. Raises what `register_endpoint` does.
    """
    fields: dict[str, Any] = {"events": [ALL_TYPES] if new.events is None else new.events}
    if _is_mail(new.url) and "dialect" not in new.model_fields_set:
        fields["dialect"] = EMAIL
    new = new.model_copy(update=fields)
    _check_dialect(new.url, new.dialect)
    async with context.database.write() as tx:
        await _check_organizations(tx, new.organization_ids)
        created_at = context.clock.now()
        operators = Organization(id=OPERATORS, name=OPERATORS_NAME, created_at=created_at)
        await accounts.insert_organization_if_new(tx, operators)
    return await register_endpoint(context, _Operators(), actor, new)


async def list_alert_endpoints(context: Context, *, limit: int, before: str | None = None) -> list[Endpoint]:
    """Alert endpoints that are not deleted, newest first."""
    async with context.database.read() as tx:
        return await endpoints.page(tx, limit=limit, before=before, organization_id=OPERATORS, deleted=False)


async def get_alert_endpoint(context: Context, endpoint_id: str) -> Endpoint:
    """One alert endpoint. Raises NotFound."""
    try:
        return await get_endpoint(context, OPERATORS, endpoint_id)
    except NotFound:
        raise NotFound("There is no such alert endpoint.") from None


async def update_alert_endpoint(context: Context, actor: Actor, endpoint_id: str, change: EndpointChange) -> Endpoint:
    """Change an alert endpoint; a changed URL gets a ping first. Raises NotFound, and what `update_endpoint` does."""
    current = await get_alert_endpoint(context, endpoint_id)
    if "url" in change.fields:
        _check_dialect(change.fields["url"], current.dialect)
    async with context.database.read() as tx:
        await _check_organizations(tx, change.fields.get("organization_ids"))
    return await update_endpoint(context, OPERATORS, actor, endpoint_id, change)


async def delete_alert_endpoint(context: Context, actor: Actor, endpoint_id: str) -> None:
    """Send nothing more to it. Raises NotFound."""
    await get_alert_endpoint(context, endpoint_id)
    await delete_endpoint(context, OPERATORS, actor, endpoint_id)


async def rotate_alert_secret(
    context: Context, actor: Actor, endpoint_id: str, *, overlap_seconds: float | None = None
) -> RegisteredEndpoint:
    """A new signing secret for it, which is shown this once. Raises NotFound."""
    await get_alert_endpoint(context, endpoint_id)
    return await rotate_secret(context, OPERATORS, actor, endpoint_id, overlap_seconds=overlap_seconds)


async def try_alert_endpoint(
    context: Context,
    endpoint_id: str,
    *,
    event_type: str = OperationalEventType.ENDPOINT_DISABLED,
    data: dict[str, Any] | None = None,
    dry_run: bool = False,
) -> Trial:
    """What it would get for an event and, unless `dry_run`, what its receiver answers. Raises NotFound, Invalid."""
    await get_alert_endpoint(context, endpoint_id)
    event = NewEvent(event_type, orjson.dumps(_EXAMPLE if data is None else data))
    return await try_endpoint(context, OPERATORS, endpoint_id, event, dry_run=dry_run)


async def _check_organizations(tx: Transaction, organization_ids: Sequence[str] | None) -> None:
    known = await accounts.names_of(tx, organization_ids or ())
    for organization_id in organization_ids or ():
        if organization_id not in known or organization_id == OPERATORS:
            raise Invalid(
                f"There is no organization {organization_id}; `sendoff orgs list` shows those there are.",
                field="organization_ids",
            )


def _is_mail(url: str) -> bool:
    return url.lower().startswith(f"{MAILTO}:")


def _check_dialect(url: str, dialect: str) -> None:
    if _is_mail(url) and dialect != EMAIL:
        raise Invalid(f"A mailto: URL takes the dialect {EMAIL}, not {dialect}; leave `dialect` out.", field="dialect")
    if dialect == EMAIL and not _is_mail(url):
        raise Invalid("The dialect email needs a URL like mailto:oncall@example.com.", field="url")
