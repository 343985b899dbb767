"""The surface in the OpenAPI document."""

from __future__ import annotations

from jsonschema import Draft202012Validator

from tests.integration.api.every_route import DIALBIRD
from tests.integration.dialbird.client import ME, SUBSCRIPTIONS, DialbirdClient


async def test_every_route_is_documented_with_its_errors_and_its_token(small_dialbird: DialbirdClient) -> None:
    paths = (await small_dialbird.api.get("/openapi.json")).json()["paths"]
    for method, path in DIALBIRD:
        operation = paths[path][method.lower()]
        assert operation["security"] == [{"token": []}]
        assert {"401", "403", "429", "500", "503"} <= set(operation["responses"])
        assert ("requestBody" in operation) == (method in ("POST", "PATCH"))


async def test_answers_are_what_the_document_says(small_dialbird: DialbirdClient) -> None:
    document = (await small_dialbird.api.get("/openapi.json")).json()
    made = await small_dialbird.subscribe("https://example.com/hook")
    one = f"{SUBSCRIPTIONS}/{made['id']}"
    answers = {
        ("get", SUBSCRIPTIONS): await small_dialbird.get(),
        ("get", SUBSCRIPTIONS + "/{subscription_id}"): await small_dialbird.get(one),
        ("patch", SUBSCRIPTIONS + "/{subscription_id}"): await small_dialbird.patch(made["id"], {"status": "failing"}),
        ("post", SUBSCRIPTIONS): await small_dialbird.post({}),
        ("get", ME): await small_dialbird.get(ME),
    }
    for (method, path), answer in answers.items():
        responses = document["paths"][path][method]["responses"]
        schema = responses[str(answer.status_code)]["content"]["application/json"]["schema"]
        validator = Draft202012Validator({**schema, "components": document["components"]})
        assert list(validator.iter_errors(answer.json())) == []
