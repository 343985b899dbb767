"""Every route of the API with what it takes to call it. A missing route fails the tests that call them all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from api.http.server.allow_header import KnownRoute, known_routes

ANY_ID = "0199c1f2-6f1e-7c3a-8f43-1f0c2f6d9a11"


@dataclass(frozen=True)
class Call:
    """How a route is called, and by whom."""

    scope: str | None
    """The scope it needs; None is open to everybody."""
    across: bool = False
    """Whether it serves all organizations."""
    body: Any = None

    @property
    def granted_by(self) -> set[str | None]:
        """The scopes of which each is enough."""
        return {self.scope, "operator"} if self.scope == "operator:read" else {self.scope}


OPEN = Call(None)
WEBHOOKS = Call("webhooks:manage")
OPERATOR = Call("operator", across=True)
READER = Call("operator:read", across=True)
EVENT = {"type": "upload.completed", "data": {}}

CALLS = {
    ("GET", "/openapi.json"): OPEN,
    ("HEAD", "/openapi.json"): OPEN,
    ("GET", "/"): OPEN,
    ("GET", "/health"): OPEN,
    ("GET", "/ready"): OPEN,
    ("GET", "/metrics"): OPEN,
    ("POST", "/api/v1/webhooks"): Call("webhooks:manage", body={"url": "https://10.0.0.1/"}),
    ("GET", "/api/v1/webhooks"): WEBHOOKS,
    ("GET", "/api/v1/webhooks/{webhook_id}"): WEBHOOKS,
    ("PATCH", "/api/v1/webhooks/{webhook_id}"): Call("webhooks:manage", body={"description": "theirs"}),
    ("DELETE", "/api/v1/webhooks/{webhook_id}"): WEBHOOKS,
    ("GET", "/api/v1/webhooks/{webhook_id}/deliveries"): WEBHOOKS,
    ("POST", "/api/v1/webhooks/{webhook_id}/rotate-secret"): WEBHOOKS,
    ("GET", "/api/v1/webhooks/{webhook_id}/public-key"): WEBHOOKS,
    ("POST", "/api/v1/webhooks/{webhook_id}/test"): WEBHOOKS,
    ("POST", "/api/v1/webhooks/{webhook_id}/recover"): Call("webhooks:manage", body={"since": "2026-01-01T00:00:00Z"}),
    ("GET", "/api/v1/deliveries"): WEBHOOKS,
    ("GET", "/api/v1/deliveries/{delivery_id}"): WEBHOOKS,
    ("POST", "/api/v1/deliveries/{delivery_id}/retry"): WEBHOOKS,
    ("GET", "/api/v1/event-types"): WEBHOOKS,
    ("POST", "/api/v1/portal-links"): WEBHOOKS,
    ("DELETE", "/api/v1/portal-sessions"): WEBHOOKS,
    ("GET", "/api/v1/listen"): WEBHOOKS,
    ("GET", "/api/v1/listen/{event_id}"): WEBHOOKS,
    ("POST", "/api/v1/listen/{event_id}/answer"): Call("webhooks:manage", body={"status": 200, "duration_ms": 1}),
    ("POST", "/api/v1/uploads"): Call("uploads:write", body={"phone_numbers": []}),
    ("GET", "/api/v1/uploads"): Call("uploads:read"),
    ("GET", "/api/v1/uploads/{upload_id}"): Call("uploads:read"),
    ("DELETE", "/api/v1/uploads/{upload_id}"): Call("uploads:write"),
    ("GET", "/api/v1/uploads/{upload_id}/download/{kind}"): Call("uploads:read"),
    ("GET", "/api/v1/uploads/{upload_id}/files/{kind}"): OPEN,
    ("DELETE", "/api/v1/uploads/{upload_id}/files"): Call("uploads:write"),
    ("POST", "/api/v1/events"): Call("events:write", body=EVENT),
    ("POST", "/api/v1/events/batch"): Call("events:write", body={"events": [EVENT]}),
    ("GET", "/api/v1/events/{event_id}"): Call("events:write"),
    ("GET", "/operator/v1/dead-letters"): READER,
    ("GET", "/operator/v1/dead-letters/{dead_letter_id}"): READER,
    ("POST", "/operator/v1/dead-letters/{dead_letter_id}/discard"): OPERATOR,
    ("POST", "/operator/v1/dead-letters/discard"): Call(
        "operator", across=True, body={"filter": {"reason": "rejected_address"}}
    ),
    ("GET", "/operator/v1/replays"): READER,
    ("POST", "/operator/v1/replays"): Call("operator", across=True, body={"filter": {}, "dry_run": True}),
    ("GET", "/operator/v1/replays/{replay_id}"): READER,
    ("POST", "/operator/v1/replays/{replay_id}/cancel"): OPERATOR,
    ("GET", "/operator/v1/deliveries"): READER,
    ("GET", "/operator/v1/attempts"): READER,
    ("GET", "/operator/v1/deliveries/{delivery_id}"): READER,
    ("POST", "/operator/v1/deliveries/{delivery_id}/retry"): OPERATOR,
    ("GET", "/operator/v1/endpoints"): READER,
    ("PATCH", "/operator/v1/endpoints/{endpoint_id}"): Call("operator", across=True, body={"rate_limit": 5}),
    ("POST", "/operator/v1/endpoints/{endpoint_id}/disable"): OPERATOR,
    ("POST", "/operator/v1/endpoints/{endpoint_id}/enable"): OPERATOR,
    ("GET", "/operator/v1/events/{event_id}/explain"): READER,
    ("POST", "/operator/v1/portal-links"): Call("operator", across=True, body={"organization_id": ANY_ID}),
    ("GET", "/operator/v1/audit"): READER,
    ("GET", "/operator/v1/overview"): READER,
    ("GET", "/operator/v1/workers"): READER,
    ("POST", "/operator/v1/workers/{worker_id}/drain"): OPERATOR,
    ("GET", "/operator/v1/statistics"): READER,
    ("GET", "/operator/v1/search"): READER,
    ("GET", "/operator/v1/events"): READER,
    ("GET", "/operator/v1/events/{event_id}"): READER,
    ("GET", "/operator/v1/endpoints/{endpoint_id}"): READER,
    ("GET", "/operator/v1/event-types"): READER,
    ("POST", "/operator/v1/event-types"): Call("operator", across=True, body={"name": "invoice.paid"}),
    ("GET", "/operator/v1/event-types/{name}"): READER,
    ("PATCH", "/operator/v1/event-types/{name}"): Call("operator", across=True, body={"schema": None}),
    ("DELETE", "/operator/v1/event-types/{name}"): OPERATOR,
    ("GET", "/operator/v1/secret-keys"): READER,
    ("POST", "/operator/v1/secret-keys/rotate"): OPERATOR,
    ("GET", "/operator/v1/export"): OPERATOR,
    ("POST", "/operator/v1/import"): OPERATOR,
    ("GET", "/operator/v1/organizations"): READER,
    ("PATCH", "/operator/v1/organizations/{organization}"): Call("operator", across=True, body={"credits": 5}),
    ("DELETE", "/operator/v1/organizations/{organization}/members/{user}"): OPERATOR,
    ("POST", "/operator/v1/organizations"): Call("operator", across=True, body={"name": "Acme"}),
    ("GET", "/operator/v1/organizations/{organization}"): READER,
    ("PUT", "/operator/v1/organizations/{organization}"): Call("operator", across=True, body={"name": "Acme"}),
    ("POST", "/operator/v1/organizations/{organization}/suspend"): OPERATOR,
    ("POST", "/operator/v1/organizations/{organization}/resume"): OPERATOR,
    ("GET", "/operator/v1/keys"): READER,
    ("POST", "/operator/v1/keys"): Call(
        "operator", across=True, body={"organization_id": ANY_ID, "user": "ada@example.com", "scopes": ["events:write"]}
    ),
    ("POST", "/operator/v1/keys/{key_id}/revoke"): OPERATOR,
    ("GET", "/api/v1/statistics"): WEBHOOKS,
    ("GET", "/operator/v1/alert-endpoints"): READER,
    ("POST", "/operator/v1/alert-endpoints"): Call("operator", across=True, body={"url": "https://10.0.0.1/"}),
    ("GET", "/operator/v1/alert-endpoints/{alert_endpoint_id}"): READER,
    ("PATCH", "/operator/v1/alert-endpoints/{alert_endpoint_id}"): Call(
        "operator", across=True, body={"description": "theirs"}
    ),
    ("DELETE", "/operator/v1/alert-endpoints/{alert_endpoint_id}"): OPERATOR,
    ("POST", "/operator/v1/alert-endpoints/{alert_endpoint_id}/rotate-secret"): OPERATOR,
    ("POST", "/operator/v1/alert-endpoints/{alert_endpoint_id}/test"): OPERATOR,
}

LINES = {("POST", "/operator/v1/import")}
"""Routes whose bodies are lines of JSON rather than JSON; `test_transfers.py` calls them."""

DIALBIRD = {
    ("POST", "/api/v1/subscriptions"),
    ("GET", "/api/v1/subscriptions"),
    ("GET", "/api/v1/subscriptions/{subscription_id}"),
    ("PATCH", "/api/v1/subscriptions/{subscription_id}"),
    ("DELETE", "/api/v1/subscriptions/{subscription_id}"),
    ("GET", "/api/v1/me"),
}
"""Routes with an envelope and codes of their own; `tests/integration/dialbird` calls them."""


PAGES = ("/dashboard", "/docs", "/portal", "/static")
"""What the paths of pages begin with; `tests/integration/pages` walks those."""


def api_routes(app: FastAPI) -> list[KnownRoute]:
    """The routes for programs."""
    return [route for route in known_routes(app) if not route.path.startswith(PAGES)]


def uncovered(app: FastAPI) -> list[KnownRoute]:
    """Routes that are in neither table."""
    return [route for route in api_routes(app) if (route.method, route.path) not in CALLS.keys() | DIALBIRD]


def concrete(path: str, **identifiers: str) -> str:
    """The path with ids in the place of its parameters, by default one that nothing has."""
    parts = [identifiers.get(part.strip("{}"), ANY_ID) if part.startswith("{") else part for part in path.split("/")]
    return "/".join(parts)
