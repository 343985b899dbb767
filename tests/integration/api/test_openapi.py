"""The OpenAPI document: complete, true, and without the framework's own errors."""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator

from api.http.allow_header import known_routes
from tests.integration.api.api_fixture import ApiFixture
from tests.integration.api.every_route import CALLS, DIALBIRD
from tests.support.receiver import Receiver

UNDOCUMENTED = {"/openapi.json"}


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": document["components"]})


async def document_of(api: ApiFixture) -> dict[str, Any]:
    response = await api.get("/openapi.json", key="")
    assert response.status_code == 200
    document: dict[str, Any] = response.json()
    return document


async def test_every_route_is_documented_with_its_errors_and_its_security(sqlite_api: ApiFixture) -> None:
    document = await document_of(sqlite_api)
    for route in known_routes(sqlite_api.asgi):
        if route.method == "HEAD" or route.path in UNDOCUMENTED or (route.method, route.path) in DIALBIRD:
            continue
        call = CALLS[route.method, route.path]
        operation = document["paths"][route.path][route.method.lower()]
        assert operation["operationId"]
        assert operation["tags"]
        if call.scope is not None:
            assert operation["security"] == [{"apiKey": []}]
            assert {"401", "403", "500", "503"} <= set(operation["responses"])
        if call.body is not None:
            assert operation["requestBody"]["content"], route


async def test_operation_ids_are_unique_and_references_resolve(sqlite_api: ApiFixture) -> None:
    document = await document_of(sqlite_api)
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids))
    text = json.dumps(document)
    for part in text.split('"$ref": "#/components/schemas/')[1:]:
        assert part.partition('"')[0] in document["components"]["schemas"]
    assert "HTTPValidationError" not in text


async def test_answers_are_what_the_document_says(api: ApiFixture, receiver: Receiver) -> None:
    document = await document_of(api)
    receiver.program("/hook", 200, 500)
    letter = await api.die(receiver.url("/hook"))
    paths = {
        "/api/v1/webhooks": {},
        "/api/v1/webhooks/{webhook_id}": {"webhook_id": letter["endpoint_id"]},
        "/api/v1/webhooks/{webhook_id}/deliveries": {"webhook_id": letter["endpoint_id"]},
        "/api/v1/events/{event_id}": {"event_id": letter["event_id"]},
        "/operator/v1/dead-letters": {},
        "/operator/v1/dead-letters/{dead_letter_id}": {"dead_letter_id": letter["id"]},
        "/operator/v1/deliveries": {},
        "/operator/v1/deliveries/{delivery_id}": {"delivery_id": letter["delivery_id"]},
        "/operator/v1/endpoints": {},
        "/operator/v1/audit": {},
        "/health": {},
        "/ready": {},
    }
    for path, identifiers in paths.items():
        response = await api.get(path.format(**identifiers))
        content = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]
        resolved(document, content["schema"]).validate(response.json())
    refused = await api.post("/api/v1/webhooks", {"url": receiver.url("/hook")})
    content = document["paths"]["/api/v1/webhooks"]["post"]["responses"]["400"]["content"]["application/json"]
    resolved(document, content["schema"]).validate(refused.json())
