"""The parts of the OpenAPI document that no route has: servers, tags, response headers, examples, sent webhooks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sendoff.policy.matching import DIALBIRD_TYPES, OPTIMALDIAL_TYPES, PING

_DESCRIPTION = """Self-hosted webhook delivery: publish an event once, and every endpoint that subscribed to its type
gets it, signed, and again for hours until it answers.

Send the API key as `Authorization: Bearer od_live_…`. Writes take an `Idempotency-Key`: a request that is repeated with
its key within 24 hours is done once and gets the first answer. Unknown fields and query parameters are errors. Every
answer carries an `X-Request-Id`; logs and audit entries carry it, too."""

_TAGS = {
    "webhooks": "Endpoints that get the organization's events. Scope `webhooks:manage`.",
    "uploads": "Lists of phone numbers to process. Scopes `uploads:write` and `uploads:read`.",
    "events": "Publishing, for the product's backend. Scope `events:write`.",
    "dialbird": "Subscriptions of the Dialbird surface, with errors and rate limits of its own. Scope `api:webhooks`.",
    "operator: dead letters": "Deliveries that were given up. Scope `operator`, like all of `/operator/v1`.",
    "operator: replays": "Deliveries sent again.",
    "operator: deliveries": "Deliveries of all organizations.",
    "operator: endpoints": "Endpoints of all organizations.",
    "operator: events": "Events of all organizations.",
    "operator: audit": "Who changed or sent what, when.",
    "health": "Health, readiness and metrics, open to everybody.",
}

_HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-Id": {
        "description": "The request's id: the client's own, if it sent a valid one.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
    },
    "Retry-After": {
        "description": "Seconds until it is worth trying again.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": {"description": "The scheme to authenticate with.", "schema": {"const": "Bearer"}},
    "Idempotency-Replayed": {
        "description": "`true` when this answer was given before to the same Idempotency-Key.",
        "schema": {"const": "true"},
    },
    "X-RateLimit-Limit": {"description": "Requests a minute.", "schema": {"type": "integer", "minimum": 1}},
    "X-RateLimit-Remaining": {
        "description": "Requests left in this minute.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "X-RateLimit-Reset": {"description": "The end of this minute, in Unix seconds.", "schema": {"type": "integer"}},
}
_OF_STATUS = {"401": "WWW-Authenticate", "429": "Retry-After", "503": "Retry-After"}
_RATE_LIMITED_PATHS = ("/api/v1/subscriptions", "/api/v1/me", "/health")

_UPLOAD = {"upload": {"id": "0199c1f2-6f1e-7c3a-8f43-1f0c2f6d9a11", "status": "completed"}}
_EVENT = {"type": "upload.completed", "data": _UPLOAD, "occurred_at": "2026-04-24T12:34:56.789+00:00"}

EXAMPLES: dict[str, Any] = {
    "createWebhook": {"url": "https://hooks.example/sendoff", "events": ["upload.completed", "upload.failed"]},
    "updateWebhook": {"description": "Production", "is_active": True},
    "rotateWebhookSecret": {"overlap_seconds": 3600},
    "createUpload": {"filename": "contacts.csv", "phone_numbers": ["+14155550123", "(212) 555-0100"]},
    "publishEvent": _EVENT,
    "publishEvents": {"events": [_EVENT]},
    "createSubscription": {"event_type": "message.incoming.received", "target_url": "https://hooks.example/sms"},
    "updateSubscription": {"status": "active"},
    "createReplay": {"filter": {"reason": "retries_exhausted", "since": "2026-04-24T00:00:00Z"}, "dry_run": True},
    "limitEndpoint": {"rate_limit": 50},
}
"""An example of the JSON body of each operation that takes one."""


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """The document with everything that holds for all operations."""
    document["info"] |= {"description": _DESCRIPTION, "summary": "Self-hosted webhook delivery."}
    document["servers"] = [{"url": "/", "description": "Where this document comes from."}]
    document["components"]["headers"] = _HEADERS
    for path, method, operation in _operations(document):
        _add_headers(path, method, operation)
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is not None and operation["operationId"] in EXAMPLES:
            content["examples"] = {"example": {"value": EXAMPLES[operation["operationId"]]}}
    used = {tag for _, _, operation in _operations(document) for tag in operation.get("tags", ())}
    document["tags"] = [{"name": name, "description": _TAGS.get(name, name)} for name in sorted(used)]
    document["webhooks"] = dict(_webhooks())
    expanded: dict[str, Any] = _without_type_lists(document)
    return expanded


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield path, method, operation


def _add_headers(path: str, method: str, operation: dict[str, Any]) -> None:
    for status, response in operation["responses"].items():
        names = ["X-Request-Id"]
        if status in _OF_STATUS:
            names.append(_OF_STATUS[status])
        if path.startswith(_RATE_LIMITED_PATHS):
            names += [name for name in _HEADERS if name.startswith("X-RateLimit-")]
        if method != "get" and status.startswith("2"):
            names.append("Idempotency-Replayed")
        references = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
        response["headers"] = response.get("headers", {}) | references


def _webhooks() -> Iterator[tuple[str, Any]]:
    """The requests that receivers get, in the envelopes of the two contracts."""
    for type_ in (*OPTIMALDIAL_TYPES, PING):
        yield type_, {"post": _webhook(type_, "created_at", {})}
    for type_ in DIALBIRD_TYPES:
        yield type_, {"post": _webhook(type_, "occurred_at", {"business_id": {"type": "string"}})}


def _webhook(type_: str, time_field: str, more: dict[str, Any]) -> dict[str, Any]:
    fields = {
        "id": {"type": "string", "pattern": "^evt_[0-9a-f]{24}$", "description": "The same at every attempt."},
        "type": {"const": type_},
        "api_version": {"type": "string"},
        time_field: {"type": "string", "format": "date-time", "description": "When it happened."},
        **more,
        "data": {"type": "object", "additionalProperties": True},
    }
    schema = {"type": "object", "required": [*fields], "properties": fields, "additionalProperties": False}
    return {
        "operationId": "receive" + "".join(part.capitalize() for part in type_.replace(".", "_").split("_")),
        "summary": f"{type_} is sent to an endpoint",
        "description": "Signed in a header over the time and the exact body; check it before you parse the body. "
        "Headers and signature depend on the endpoint's dialect.",
        "tags": ["dialbird" if more else "webhooks"],
        "security": [],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {"2XX": {"description": "Acknowledges the delivery; any other answer makes another attempt."}},
    }


def _without_type_lists(node: Any) -> Any:
    """The schemas in a part of the document with `anyOf` instead of a list of types, which many generators misread."""
    if isinstance(node, list):
        return [_without_type_lists(one) for one in node]
    if not isinstance(node, dict):
        return node
    expanded = {name: _without_type_lists(value) for name, value in node.items()}
    types = node.get("type")
    if not isinstance(types, list):
        return expanded
    outer = {name: expanded[name] for name in ("title", "description", "default") if name in expanded}
    inner = {name: value for name, value in expanded.items() if name not in outer and name != "type"}
    return outer | {"anyOf": [{"type": one, **_applicable(one, inner)} for one in types]}


_KEYWORDS = {
    "array": ("items", "minItems", "maxItems", "uniqueItems"),
    "object": ("properties", "required", "additionalProperties"),
    "string": ("format", "pattern", "minLength", "maxLength"),
}


def _applicable(type_: str, keywords: dict[str, Any]) -> dict[str, Any]:
    return {name: keywords[name] for name in _KEYWORDS.get(type_, ()) if name in keywords}
