"""What holds for the whole document: its title page, servers, tags and response headers."""

from __future__ import annotations

from typing import Any

_DESCRIPTION = """Self-hosted webhook delivery: publish an event once, and every endpoint that subscribed to its type
gets it, signed, and again for hours until it answers.

Send the API key as `Authorization: Bearer od_live_…`. Writes take an `Idempotency-Key`: a request that is repeated with
its key within 24 hours is done once and gets the first answer. Unknown fields and query parameters are errors. Every
answer carries an `X-Request-Id`; logs and audit entries carry it, too."""

INFO: dict[str, Any] = {
    "summary": "Self-hosted webhook delivery.",
    "description": _DESCRIPTION,
    "contact": {"name": "The operator of this installation"},
    "license": {"name": "Apache License 2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
}

SERVERS = [{"url": "/", "description": "Where this document comes from."}]

TAGS = {
    "webhooks": "Endpoints that get the organization's events. Scope `webhooks:manage`.",
    "deliveries": "What became of the organization's events. Scope `webhooks:manage`.",
    "event types": "What can be subscribed to. Scope `webhooks:manage`.",
    "portal": "The customers' pages, which a link opens once. Scope `webhooks:manage`.",
    "listening": "What endpoints would get, for a client that no request can reach. Scope `webhooks:manage`.",
    "uploads": "Lists of phone numbers to process. Scopes `uploads:write` and `uploads:read`.",
    "events": "Publishing, for the product's backend. Scope `events:write`.",
    "dialbird": "Subscriptions of the Dialbird surface, with errors and rate limits of its own. Scope `api:webhooks`.",
    "operator: overview": "What waits, what fails, who works. Under `/operator/v1` reading takes the scope "
    "`operator:read` or `operator`, and changing something `operator`.",
    "operator: dead letters": "Deliveries that were given up.",
    "operator: replays": "Deliveries sent again.",
    "operator: deliveries": "Deliveries of all organizations.",
    "operator: endpoints": "Endpoints of all organizations.",
    "operator: events": "Events of all organizations.",
    "operator: organizations": "Organizations with their API keys, and links to their portal.",
    "operator: alerts": "Where operational events go: what happens to endpoints and deliveries.",
    "operator: transfer": "An installation's accounts and endpoints as lines of JSON, to move them to another.",
    "operator: audit": "Who changed or sent what, when.",
    "health": "Health, readiness and metrics, open to every client.",
    "receivers": "Requests that endpoints get. A generated client has no use for them, a generated server does.",
}
"""The tags' descriptions. A tag that this table lacks is described by its name alone."""

PARAMETERS = {
    "webhook_id": "The endpoint's id.",
    "endpoint_id": "The endpoint's id.",
    "subscription_id": "The subscription's id.",
    "upload_id": "The upload's id.",
    "event_id": "The event's id.",
    "delivery_id": "The delivery's id.",
    "dead_letter_id": "The dead letter's id.",
    "replay_id": "The replay's id.",
    "alert_endpoint_id": "The alert endpoint's id.",
    "organization_id": "Only what belongs to this organization.",
    "wait_seconds": "Seconds for which the answer waits until there is an event.",
    "kind": "Which of the upload's files.",
    "limit": "How many entries a page has at most.",
    "cursor": "The `next_cursor` of the page before.",
    "event_type": "Only events of this type.",
    "reason": "Only deliveries that were given up for this reason.",
    "organization": "The organization's id, or its external id.",
    "external_id": "What the product's own backend calls the organization.",
    "key_id": "The API key's id.",
    "request_id": "Only what this request published.",
    "min_attempts": "Only those with this many attempts or more.",
    "by": "What tells series apart.",
    "bucket": "The time between two points.",
    "order": "What series are ordered by; with `-` the largest first.",
    "state": "Only those that are in this state now.",
    "since": "From this moment on, in UTC unless it says otherwise; or a time ago, such as `2h`.",
    "until": "Before this moment, in UTC unless it says otherwise; or a time ago.",
    "actor": "Only entries of this actor, such as a key or an operator's name.",
    "action": "Only entries of this action.",
    "target_id": "Only entries about this object.",
    "expires": "When the link expires, in Unix seconds; part of the link.",
    "signature": "What shows that the link was made here; part of the link.",
    "Idempotency-Key": "The same key and the same request within 24 hours: the write is done once.",
}
"""What a parameter means unless its route says it. One that has neither is described by its name alone."""

HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-Id": {
        "description": "The request's id: the client's own, if it sent a valid one.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
    },
    "Retry-After": {
        "description": "Seconds until it is worth trying again.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": {
        "description": "The scheme to authenticate with.",
        "schema": {"type": "string", "const": "Bearer"},
    },
    "Idempotency-Replayed": {
        "description": "`true` when this answer was given before to the same Idempotency-Key.",
        "schema": {"type": "string", "const": "true"},
    },
    "X-RateLimit-Limit": {"description": "Requests a minute.", "schema": {"type": "integer", "minimum": 1}},
    "X-RateLimit-Remaining": {
        "description": "Requests left in this minute.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "X-RateLimit-Reset": {
        "description": "The end of this minute, in Unix seconds.",
        "schema": {"type": "integer", "format": "int64"},
    },
}
_OF_STATUS = {"401": "WWW-Authenticate", "429": "Retry-After", "503": "Retry-After"}
_RATE_LIMITED_PATHS = ("/api/v1/subscriptions", "/api/v1/me", "/health")


def headers_of(path: str, method: str, status: str) -> dict[str, Any]:
    """The headers that a response of this status has."""
    names = ["X-Request-Id"]
    if status in _OF_STATUS:
        names.append(_OF_STATUS[status])
    if path.startswith(_RATE_LIMITED_PATHS):
        names += [name for name in HEADERS if name.startswith("X-RateLimit-")]
    if method != "get" and status.startswith("2"):
        names.append("Idempotency-Replayed")
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
