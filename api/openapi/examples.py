"""Examples of the document: of bodies by hand, of responses from their schemas."""

from __future__ import annotations

from typing import Any

from sendoff.uploads.check import FEWEST_CONTACTS

_ID = "0199c1f2-6f1e-7c3a-8f43-1f0c2f6d9a11"
_EVENT_ID = "evt_0199c1f26f1e8f431f0c2f6d"
_UPLOAD = {"upload": {"id": _ID, "status": "completed"}}
_PHONE_NUMBERS = ["(212) 555-0100", *(f"+141555501{number:02}" for number in range(FEWEST_CONTACTS))]
_EVENT = {"type": "upload.completed", "data": _UPLOAD, "occurred_at": "2026-04-24T12:34:56.789+00:00"}

REQUESTS: dict[str, Any] = {
    "createWebhook": {"url": "https://hooks.example/sendoff", "events": ["upload.completed", "upload.failed"]},
    "updateWebhook": {"description": "Production", "is_active": True},
    "rotateWebhookSecret": {"overlap_seconds": 3600},
    "testWebhook": {"type": "upload.completed", "data": _UPLOAD, "dry_run": True},
    "retryOwnDelivery": {"again": False},
    "recoverWebhook": {"since": "2026-04-24T00:00:00Z", "dry_run": True},
    "createPortalLink": {"expires_in": 600, "capabilities": ["view", "resend"]},
    "createPortalLinkForOrganization": {"organization_id": _ID},
    "reportAnswer": {"status": 200, "duration_ms": 12},
    "createUpload": {"filename": "contacts.csv", "phone_numbers": _PHONE_NUMBERS},
    "publishEvent": _EVENT,
    "publishEvents": {"events": [_EVENT]},
    "createSubscription": {"event_type": "message.incoming.received", "target_url": "https://hooks.example/sms"},
    "updateSubscription": {"status": "active"},
    "createReplay": {"filter": {"reason": "retries_exhausted", "since": "2026-04-24T00:00:00Z"}, "dry_run": True},
    "createOrganization": {"name": "Acme", "external_id": "customer-42"},
    "putOrganization": {"name": "Acme"},
    "updateOrganization": {"credits": 1000},
    "createEventType": {"name": "invoice.paid", "schema": {"type": "object", "required": ["amount"]}},
    "updateEventType": {"schema": {"type": "object"}},
    "createKey": {"organization_id": _ID, "user": "ada@company.example", "scopes": ["events:write"]},
    "discardDeadLetters": {"filter": {"reason": "endpoint_deleted"}},
    "limitEndpoint": {"rate_limit": 50},
    "createAlertEndpoint": {"url": "mailto:oncall@example.com", "events": ["endpoint.disabled", "replay.*"]},
    "updateAlertEndpoint": {"events": ["endpoint.*", "delivery.dead_lettered"], "organization_ids": [_ID]},
    "rotateAlertEndpointSecret": {"overlap_seconds": 3600},
    "testAlertEndpoint": {"type": "endpoint.disabled", "dry_run": True},
}
"""An example of the JSON body of each operation that takes one."""

_FIELDS: dict[str, Any] = {
    "url": "https://hooks.example/sendoff",
    "target_url": "https://hooks.example/sms",
    "event_id": _EVENT_ID,
    "event_type": "upload.completed",
    "type": "upload.completed",
    "events": ["upload.completed", "upload.failed"],
    "request_id": "req_5f0c2f6d9a110199",
    "description": "Production",
    "detail": "Says what is wrong and what to change.",
    "secret": "5d" * 32,
    "signing_secret": "whsec_" + "5d" * 32,
    "public_key": "whpk_J0rvVl1LJ4ECDvCKsLBTNwXNVTBqOAlEx5PBNqdiFcE=",
    "previous_public_key": None,
    "email": "ada@company.example",
    "last_error": None,
    "error_message": None,
    "last_response_status": 200,
    "response_status": 200,
    "status_code": 500,
    "next_cursor": None,
    "original_filename": "contacts.csv",
    "dialect": "default",
    "metadata": {"team": "billing"},
    "headers": {"X-Api-Key": "***"},
    "data": _UPLOAD,
}
"""Values of fields that say more than their type alone; a field whose schema does not allow its value has another."""

_FORMATS = {"date-time": "2026-04-24T12:34:56.789+00:00", "uuid": _ID}
_DEEPEST = 8


def example_of(schema: dict[str, Any], schemas: dict[str, Any], field: str = "", depth: int = 0) -> Any:
    """A value that the schema accepts. `schemas` are the document's, for references."""
    if "$ref" in schema:
        return example_of(schemas[schema["$ref"].rpartition("/")[2]], schemas, field, depth + 1)
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    if "anyOf" in schema or "oneOf" in schema:
        return _choose(schema.get("anyOf") or schema["oneOf"], schemas, field, depth)
    if schema.get("type") == "object":
        return _object(schema, schemas, field, depth)
    if schema.get("type") == "array":
        known = _FIELDS.get(field)
        fits = isinstance(known, list) and schema["items"].get("type") == "string"
        return known if fits else [example_of(schema["items"], schemas, "", depth + 1)]
    return _scalar(schema, _FIELDS.get(field))


def _choose(possible: list[dict[str, Any]], schemas: dict[str, Any], field: str, depth: int) -> Any:
    """The most informative alternative; null where the field is known to be null most of the time."""
    if {"type": "null"} in possible and (depth > _DEEPEST or _FIELDS.get(field, field) is None):
        return None
    return example_of(possible[0], schemas, field, depth + 1)


def _object(schema: dict[str, Any], schemas: dict[str, Any], field: str, depth: int) -> Any:
    if "properties" not in schema:
        known = _FIELDS.get(field)
        return known if isinstance(known, dict) else {}
    return {name: example_of(one, schemas, name, depth + 1) for name, one in schema["properties"].items()}


def _scalar(schema: dict[str, Any], known: Any) -> Any:
    match schema.get("type"):
        case "string":
            return _text(schema, known)
        case "integer" | "number":
            return known if isinstance(known, int) else max(1, schema.get("minimum", 1))
        case "boolean":
            return bool(schema.get("default", False))
        case _:
            return None


def _text(schema: dict[str, Any], known: Any) -> str:
    if "format" in schema:
        return _FORMATS.get(schema["format"], "…")
    if str(schema.get("pattern", "")).startswith("^evt_"):
        return _EVENT_ID
    return known if isinstance(known, str) else "…"
