"""The OpenAPI document: complete, true, and without the framework's own errors."""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator

from sendoff.policy.states import UPLOAD, DeadLetterReason
from tests.integration.api.api_fixture import ApiFixture
from tests.integration.api.every_route import CALLS, DIALBIRD, api_routes
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
    for route in api_routes(sqlite_api.asgi):
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


def operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for path in document["paths"].values() for operation in path.values()]


async def test_every_json_body_has_an_example_that_its_schema_accepts(sqlite_api: ApiFixture) -> None:
    document = await document_of(sqlite_api)
    for operation in operations(document):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is not None:
            for example in content["examples"].values():
                resolved(document, content["schema"]).validate(example["value"])


async def test_generators_find_no_list_of_types_and_every_response_names_its_headers(sqlite_api: ApiFixture) -> None:
    document = await document_of(sqlite_api)
    assert '"type": [' not in json.dumps(document)
    for operation in operations(document):
        assert operation["summary"]
        assert operation["description"]
        for status, response in operation["responses"].items():
            assert "X-Request-Id" in response["headers"], operation["operationId"]
            assert ("Retry-After" in response["headers"]) == (status in ("429", "503"))


async def test_requests_match_the_webhooks_section_of_the_openapi_document(api: ApiFixture, receiver: Receiver) -> None:
    document = await document_of(api)
    await api.register(receiver.url("/hook"))
    wanted = {"event_type": "call.incoming.completed", "target_url": receiver.url("/calls")}
    assert (await api.post("/api/v1/subscriptions", wanted)).status_code == 201
    await api.publish()
    await api.publish(type="call.incoming.completed")
    await api.app.work()
    bodies = [json.loads(request.body) for path in ("/hook", "/calls") for request in receiver.requests(path)]
    assert {body["type"] for body in bodies} == {"webhook.ping", "upload.completed", "call.incoming.completed"}
    for body in bodies:
        content = document["webhooks"][body["type"]]["post"]["requestBody"]["content"]["application/json"]
        resolved(document, content["schema"]).validate(body)


async def test_every_json_response_has_an_example_that_its_schema_accepts(sqlite_api: ApiFixture) -> None:
    document = await document_of(sqlite_api)
    for operation in operations(document):
        for response in operation["responses"].values():
            content = response.get("content", {}).get("application/json")
            if content is not None:
                resolved(document, content["schema"]).validate(content["example"])


async def test_a_known_etag_is_answered_304_and_head_is_answered(sqlite_api: ApiFixture) -> None:
    first = await sqlite_api.get("/openapi.json", key="")
    tag = first.headers["ETag"]
    again = await sqlite_api.get("/openapi.json", key="", headers={"If-None-Match": f'"other", W/{tag}'})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    changed = await sqlite_api.get("/openapi.json", key="", headers={"If-None-Match": '"other"'})
    assert (changed.status_code, changed.content) == (200, first.content)
    head = await sqlite_api.call("HEAD", "/openapi.json", key="")
    assert (head.status_code, head.content, head.headers["ETag"]) == (200, b"", tag)


async def test_enumerations_hold_what_can_come_and_every_schema_is_used(sqlite_api: ApiFixture) -> None:
    document = await document_of(sqlite_api)
    schemas = document["components"]["schemas"]
    reachable = {str(arrow.target) for arrow in UPLOAD.arrows}
    assert set(schemas["UploadView"]["properties"]["status"]["enum"]) == reachable
    assert set(schemas["DeadLetterReason"]["enum"]) == set(DeadLetterReason)
    text = json.dumps(document)
    assert [name for name in schemas if f'"#/components/schemas/{name}"' not in text] == []


async def test_fields_of_answers_are_required_unless_they_are_left_out(sqlite_api: ApiFixture) -> None:
    schemas = (await document_of(sqlite_api))["components"]["schemas"]
    for name in ("Health", "Readiness", "Index", "OverviewView", "CancelledUpload", "NotReadyDetail"):
        assert set(schemas[name]["required"]) == set(schemas[name]["properties"])
    assert set(schemas["DeliveryView"]["properties"]) == set(schemas["DeliveryView"]["required"])
    left_out = set(schemas["WebhookEndpoint"]["properties"]) - set(schemas["WebhookEndpoint"]["required"])
    assert {"ordered", "dialect", "filter", "headers"} <= left_out


async def test_a_default_is_said_in_words_so_that_no_client_demands_the_field(sqlite_api: ApiFixture) -> None:
    schemas = (await document_of(sqlite_api))["components"]["schemas"]
    for schema in schemas.values():
        assert [name for name, field in schema.get("properties", {}).items() if "default" in field] == []
    said = schemas["NewReplay"]["properties"]
    assert said["rate"]["description"].endswith("Default: `50`.")
    assert said["dry_run"]["description"] == "Default: `false`."
    assert schemas["NewWebhook"]["required"] == ["url"]
