"""The fields of an endpoint, each said once: what owners give and change, and what operators and programs are shown.

The API's bodies and answers, the command line's JSON and the fields on pages are made of these models. CONTRIBUTING.md
lists the files that a new field touches.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from sendoff.clock import iso, parse_duration
from sendoff.dialects.branded import NAME as BRANDED
from sendoff.endpoints.credentials import masked_headers
from sendoff.endpoints.own_headers import check_headers
from sendoff.ids import is_uuid
from sendoff.policy.endpoints.auth import Auth, AuthType
from sendoff.policy.endpoints.expressions import MAX_CHARACTERS, ExpressionRefused, Purpose, compile_expression
from sendoff.policy.redaction import redact_url
from sendoff.policy.states import EndpointState
from sendoff.settings import LONGEST_ENDPOINT_TIMEOUT_SECONDS
from sendoff.store.tables import Endpoint

HIGHEST_RATE = 10_000
"""Deliveries per second. A higher limit would hardly be one: it is refused, and null stands for no limit."""

MAX_EVENTS = 100
"""Event types in one subscription. Each is compared with every event's type when it is published."""

Time = Annotated[
    datetime,
    PlainSerializer(iso, when_used="json-unless-none"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A time in answers, spelled as the contracts do: ISO 8601 in UTC with milliseconds."""


Id = Annotated[str, WithJsonSchema({"type": "string", "format": "uuid"})]
"""The id of a row in answers and paths: a UUID in canonical spelling."""


def is_none(value: object) -> bool:
    """For fields that answers leave out when they are not set."""
    return value is None


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("Must not hold the NUL character; leave it out")
    return text


def _without_duplicates(events: list[str]) -> list[str]:
    """Each type once, in the order of its first mention."""
    folded = list(dict.fromkeys(events))
    if not folded:
        raise ValueError("Must name at least one event type")
    if len(folded) > MAX_EVENTS:
        raise ValueError(f"Names {len(folded)} event types; at most {MAX_EVENTS} are possible; use several endpoints")
    return folded


Text = Annotated[str, AfterValidator(_without_nul)]
"""A string that every database can keep."""

Url = Annotated[Text, Field(description="https, with a host that resolves to public addresses only")]
Description = Annotated[str, Field(max_length=500), AfterValidator(_without_nul)]
Events = Annotated[
    list[Text],
    AfterValidator(_without_duplicates),
    Field(
        max_length=1_000,
        description=f"Event types to subscribe to, at most {MAX_EVENTS} different ones; `upload.*` stands for all "
        "types that begin with `upload.`, and `*` for all types",
        json_schema_extra={"minItems": 1},
    ),
]
RateLimit = Annotated[int, Field(ge=1, le=HIGHEST_RATE, description="Maximum deliveries per second, over all workers")]
"""How fast an endpoint may be sent to; answers hold it only where it is set."""


_MetadataKey = Annotated[str, Field(min_length=1, max_length=40), AfterValidator(_without_nul)]
_MetadataValue = Annotated[str, Field(max_length=500), AfterValidator(_without_nul)]
Metadata = Annotated[
    dict[_MetadataKey, _MetadataValue],
    Field(max_length=20, description="The owner's own keys and values; they are kept and shown, and mean nothing here"),
]


MOST_WAITS = 20
"""Retries in one endpoint's schedule. Each is another request to a receiver that fails."""

_LONGEST_WAIT_SECONDS = 24 * 3600
_LONGEST_SCHEDULE_SECONDS = 7 * 24 * 3600  # within which every dead letter is kept, and replays are meant for the rest


def _wait(text: str) -> str:
    if parse_duration(text) > _LONGEST_WAIT_SECONDS:
        raise ValueError(f"The wait {text} is longer than 24h; shorten it")
    return text


def _schedule(waits: list[str]) -> list[str]:
    if sum(map(parse_duration, waits)) > _LONGEST_SCHEDULE_SECONDS:
        raise ValueError("The waits are longer than 7d together; shorten them or leave some out")
    return waits


RetryWaits = Annotated[
    list[Annotated[str, Field(max_length=20), AfterValidator(_wait)]],
    Field(
        max_length=MOST_WAITS,
        description="Waits between attempts, such as `30s`, `5m` and `2h`, each up to 24h, together up to 7 days; one "
        "attempt more than there are waits, so that `[]` means a single one. Null is the installation's schedule.",
        examples=[["30s", "5m", "2h"]],
    ),
    AfterValidator(_schedule),
]
TimeoutSeconds = Annotated[
    int,
    Field(
        ge=1,
        le=LONGEST_ENDPOINT_TIMEOUT_SECONDS,
        description="The longest that an attempt may take, from dialing to the last byte read; null is the "
        "installation's.",
    ),
]
MaxInFlight = Annotated[
    int,
    Field(
        ge=1,
        description="Maximum requests under way at a time, over all workers; at most the installation's, "
        "which null stands for.",
    ),
]


OwnHeaders = Annotated[
    dict[str, str],
    Field(
        description="Headers that every ping and delivery carries, at most 20, of 4 KiB together. Reads show `***` in "
        "place of the values, and a change that gives `***` keeps the value.",
        examples=[{"X-Api-Key": "3f9c0e77"}],
    ),
    AfterValidator(check_headers),
]
_AUTH = "How pings and deliveries authenticate, besides their signature; reads show the `type` alone."


def _checked(purpose: Purpose) -> Callable[[str], str]:
    def check(text: str) -> str:
        try:
            compile_expression(text, purpose)
        except ExpressionRefused as error:
            raise ValueError(f"The expression {error}") from None
        return text

    return check


Filter = Annotated[
    str,
    Field(
        max_length=MAX_CHARACTERS["filter"],
        description="A CEL expression over `type`, `id`, `occurred_at` and `data` that gives a bool: only events for "
        "which it is true make a delivery.",
        examples=["data.upload.filename.endsWith('.csv')"],
    ),
    AfterValidator(_without_nul),
    AfterValidator(_checked("filter")),
]
Transform = Annotated[
    str,
    Field(
        max_length=MAX_CHARACTERS["transform"],
        description="A CEL expression over the same names as `filter` whose value, a map, becomes `data` for this "
        "endpoint.",
        examples=["{'id': data.upload.id}"],
    ),
    AfterValidator(_without_nul),
    AfterValidator(_checked("transform")),
]

_ORDERED = (
    "Deliver one at a time, in the order in which the events were accepted. A delivery that fails holds back the later "
    "ones until it is delivered or dead."
)


class NewEndpoint(BaseModel):
    """What an owner gives to register an endpoint."""

    model_config = ConfigDict(strict=True)

    url: Url
    description: Description | None = None
    events: Events | None = Field(None, description="Defaults to upload.completed and upload.failed")
    dialect: Text = Field(
        BRANDED,
        description="How events are rendered and signed: `default` (or its brand, such as `optimaldial`), `standard` "
        "(Standard Webhooks 1.0 with a shared secret), `standard-v1a` (the same with an ed25519 key), "
        "or `cloudevents` (CloudEvents 1.0, signed like `standard`).",
    )
    rate_limit: RateLimit | None = None
    filter: Filter | None = None
    transform: Transform | None = None
    owner_metadata: Metadata | None = Field(None, alias="metadata")
    ordered: bool = Field(default=False, description=_ORDERED)
    retry_schedule: RetryWaits | None = None
    timeout_seconds: TimeoutSeconds | None = None
    max_in_flight: MaxInFlight | None = None
    headers: OwnHeaders | None = Field(None, repr=False)
    auth: Auth | None = Field(None, repr=False, description=_AUTH)
    secret: Text | None = Field(
        None,
        repr=False,
        description="The signing secret, chosen by the owner so that a receiver can verify the ping: 32 to 64 "
        "printable ASCII characters, or for `standard` a `whsec_…`. Left out, one is made.",
    )
    unique: bool = Field(
        default=False, description="Whether to refuse, with 409, a URL that the organization has registered already."
    )


class EndpointChanges(BaseModel):
    """What an owner may change; a field that is absent stays as it is."""

    model_config = ConfigDict(strict=True)

    # Defaults that no schema shows: absent is not the same as any value.
    url: Url = Field(default_factory=str)
    description: Description | None = Field(default_factory=lambda: None)
    events: Events = Field(default_factory=list)
    is_active: bool = Field(default_factory=bool)
    rate_limit: RateLimit | None = Field(default_factory=lambda: None)
    filter: Filter | None = Field(default_factory=lambda: None)
    transform: Transform | None = Field(default_factory=lambda: None)
    owner_metadata: Metadata | None = Field(default_factory=lambda: None, alias="metadata")
    ordered: bool = Field(default_factory=bool, description=_ORDERED)
    retry_schedule: RetryWaits | None = Field(default_factory=lambda: None)
    timeout_seconds: TimeoutSeconds | None = Field(default_factory=lambda: None)
    max_in_flight: MaxInFlight | None = Field(default_factory=lambda: None)
    headers: OwnHeaders | None = Field(default_factory=lambda: None, repr=False)
    auth: Auth | None = Field(default_factory=lambda: None, repr=False, description=_AUTH)

    def given(self) -> dict[str, Any]:
        """The fields that were in the body; `auth` as the model that it is."""
        given = self.model_dump(exclude_unset=True)
        return given | ({"auth": self.auth} if "auth" in given else {})


class ShownAuth(BaseModel):
    """How requests authenticate; everything else about it is secret."""

    type: AuthType


class EndpointView(BaseModel):
    """What every reader of an endpoint sees, its owner and operators alike; never a secret."""

    model_config = ConfigDict(from_attributes=True, validate_by_name=True, serialize_by_alias=True)

    id: Id
    organization_id: Id
    url: str
    description: str | None
    events: list[str]
    is_active: bool
    last_success_at: Time | None
    last_failure_at: Time | None
    consecutive_failures: int = Field(ge=0)
    disabled_at: Time | None
    created_at: Time
    updated_at: Time
    rate_limit: RateLimit | None = Field(
        None, exclude_if=is_none, description="What counts: the lower one of the owner's and the operator's limit."
    )
    operator_rate_limit: RateLimit | None = Field(
        None, exclude_if=is_none, description="The operator's limit, which the owner cannot lift."
    )
    disabled_by_operator: bool = Field(
        default=False, exclude_if=lambda value: not value, description="Only an operator can enable it again."
    )

    filter: str | None = Field(None, exclude_if=is_none)
    transform: str | None = Field(None, exclude_if=is_none)
    owner_metadata: Metadata | None = Field(None, alias="metadata", exclude_if=is_none)
    ordered: bool = Field(default=False, exclude_if=lambda value: not value, description=_ORDERED)
    retry_schedule: list[str] | None = Field(None, exclude_if=is_none)
    timeout_seconds: TimeoutSeconds | None = Field(None, exclude_if=is_none)
    max_in_flight: MaxInFlight | None = Field(None, exclude_if=is_none)
    headers: dict[str, str] | None = Field(None, exclude_if=is_none, description="The values are always `***`.")
    auth: ShownAuth | None = Field(None, exclude_if=is_none)

    @classmethod
    def of(cls, endpoint: Endpoint) -> Self:
        """The view of a row."""
        fields = endpoint.model_dump()
        fields["rate_limit"] = effective_rate_limit(endpoint)
        fields |= shown_credentials(endpoint)
        return cls(**fields, is_active=endpoint.state == EndpointState.ACTIVE)


class OwnersView(EndpointView):
    """An endpoint as its owner sees it (OptimalDial contract, "Webhook endpoints")."""

    user_id: str | None = Field(
        description="Who registered it; null if that was in the portal, by a link of an operator's for an organization "
        "without members."
    )
    verified_at: Time
    dialect: str = Field(
        BRANDED,
        exclude_if=lambda dialect: dialect == BRANDED,
        description="Only of endpoints that speak another one.",
    )


class OperatorsView(EndpointView):
    """An endpoint of any surface, as operators see it."""

    user_id: str | None
    verified_at: Time | None
    dialect: str
    state: EndpointState


def _known_ids(organization_ids: list[str]) -> list[str]:
    if not organization_ids:
        raise ValueError("Must name at least one organization; leave it out for all")
    for one in organization_ids:
        if not is_uuid(one):
            raise ValueError(f"Holds {one!r}, which is not an organization's id")
    return list(dict.fromkeys(one.lower() for one in organization_ids))


OrganizationIds = Annotated[
    list[Text],
    AfterValidator(_known_ids),
    Field(max_length=100, description="Only what concerns these organizations; left out or null, what concerns any."),
]
_ALERT_EVENTS = Field(
    None,
    description="Operational events to subscribe to, such as `endpoint.disabled` or `endpoint.*`; left out, all.",
)
_ALERT_DIALECT = Field(
    BRANDED,
    description="As of a webhook, or `slack` for an incoming webhook of Slack. A `mailto:` URL means `email`.",
)
_ALERT_URL = Field(
    description="https, or `mailto:` and an e-mail address. Internal addresses only within `ALERT_ALLOW_NETWORKS`."
)


class NewAlertEndpoint(NewEndpoint):
    """What an operator gives to have operational events sent somewhere: the fields of a webhook, and for whom."""

    url: Annotated[Text, _ALERT_URL]
    events: Events | None = _ALERT_EVENTS
    dialect: Text = _ALERT_DIALECT
    organization_ids: OrganizationIds | None = None


class AlertEndpointChanges(EndpointChanges):
    """What an operator may change of an alert endpoint."""

    url: Annotated[Text, _ALERT_URL] = Field(default_factory=str)
    organization_ids: OrganizationIds | None = Field(default_factory=lambda: None)


class AlertEndpointFields(OperatorsView):
    """An alert endpoint as operators see it; `organization_id` is that of all alert endpoints."""

    organization_ids: list[str] | None = Field(description="Null: all organizations.")


def effective_rate_limit(endpoint: Endpoint) -> int | None:
    """Deliveries per second that an endpoint gets at most: the lower one of its owner's and the operator's limit."""
    limits = [limit for limit in (endpoint.rate_limit, endpoint.operator_rate_limit) if limit is not None]
    return min(limits, default=None)


def shown_credentials(endpoint: Endpoint) -> dict[str, Any]:
    """The fields `headers` and `auth` without what is secret in them."""
    return {
        "headers": masked_headers(endpoint.header_names),
        "auth": None if endpoint.auth_type is None else {"type": endpoint.auth_type},
    }


def audit_snapshot(endpoint: Endpoint) -> dict[str, Any]:
    """What the audit log compares before and after a change: the state, and every field that can be changed."""
    values = endpoint.model_dump(include=AlertEndpointChanges.model_fields.keys() & Endpoint.model_fields.keys())
    if endpoint.organization_ids is None:
        del values["organization_ids"]
    return values | {
        **shown_credentials(endpoint),
        "url": redact_url(endpoint.url),
        "state": str(endpoint.state),
        "rate_limit": effective_rate_limit(endpoint),
        "operator_rate_limit": endpoint.operator_rate_limit,
    }
