"""The document put together: what routes say of themselves, and what holds for all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from sendoff import __version__

from ..dialbird.errors import DialbirdError
from .examples import REQUESTS, example_of
from .operations import COMPONENTS, ERROR_MODELS, REFERENCE
from .parts import HEADERS, INFO, PARAMETERS, SERVERS, TAGS, headers_of
from .webhooks import SENT_TAG, sent_webhooks

TITLE = "Sendoff"

_REFERENCED = re.compile(re.escape(REFERENCE.format(model="")) + r"([^\"]+)")


def document(app: FastAPI, plain: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The OpenAPI document of the application's routes; `plain` has the operations that the framework cannot see."""
    made = get_openapi(title=TITLE, version=__version__, routes=app.routes)
    for path, operations in plain.items():
        made["paths"].setdefault(path, {}).update(deepcopy(dict(operations)))
    components = made["components"]
    components["schemas"] |= _error_schemas()
    for _, _, operation in _operations(made):
        components["schemas"].update(operation.pop(COMPONENTS, {}))
        _drop_framework_errors(operation)
    made["info"] |= INFO
    made |= {"servers": SERVERS, "security": [{"apiKey": []}], "webhooks": dict(sent_webhooks())}
    components["headers"] = HEADERS
    complete: dict[str, Any] = _for_generators(made)
    for path, method, operation in _operations(complete):
        _complete_operation(path, method, operation, complete["components"]["schemas"])
    for schema in complete["components"]["schemas"].values():
        _say_defaults(schema)
    complete["tags"] = _used_tags(complete)
    _drop_unused(complete)
    return complete


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield path, method, operation


def _error_schemas() -> dict[str, Any]:
    models = [(model, "serialization") for model in (*ERROR_MODELS, DialbirdError)]
    _, described = models_json_schema(models, ref_template=REFERENCE)  # type: ignore[arg-type]  # invariant Literal
    schemas: dict[str, Any] = described["$defs"]
    return schemas


def _drop_framework_errors(operation: dict[str, Any]) -> None:
    if "HTTPValidationError" in str(operation["responses"].get("422", "")):
        del operation["responses"]["422"]


def _drop_unused(document: dict[str, Any]) -> None:
    """Remove schemas that nothing refers to: the framework's own, and enums that a field spells differently."""
    schemas = document["components"]["schemas"]
    while unused := schemas.keys() - set(_REFERENCED.findall(orjson.dumps(document).decode())):
        for name in unused:
            del schemas[name]


def _complete_operation(path: str, method: str, operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    name = operation["operationId"]
    operation["summary"] = _summary(name)
    operation.setdefault("security", [])
    for parameter in operation.get("parameters", ()):
        _complete_parameter(parameter)
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body is not None and name in REQUESTS:
        body["examples"] = {"example": {"value": REQUESTS[name]}}
    for status, response in operation["responses"].items():
        response["headers"] = response.get("headers", {}) | headers_of(path, method, status)
        content = response.get("content", {}).get("application/json")
        if response["description"] == "Successful Response":
            response["description"] = "Done" if content is None else _describe(content["schema"], schemas)
        if content is not None:
            content["example"] = example_of(content["schema"], schemas)


def _summary(operation_id: str) -> str:
    """`listDeadLetters` as `List dead letters`."""
    words = re.sub("([A-Z])", r" \1", operation_id).lower()
    return words[0].upper() + words[1:]


def _describe(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    """The first sentence of a schema's description."""
    if "$ref" in schema:
        return _describe(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if schema.get("type") == "array":
        return "A list; each of its items: " + _describe(schema["items"], schemas)
    return str(schema.get("description", "Done")).partition("\n")[0]


def _complete_parameter(parameter: dict[str, Any]) -> None:
    """Describe it, and take null from its schema: a parameter that is left out is not one that is null."""
    if "description" not in parameter:
        parameter["description"] = PARAMETERS.get(parameter["name"], f"The {parameter['name'].replace('_', ' ')}.")
    schema = parameter["schema"]
    if "anyOf" in schema:
        possible = [one for one in schema["anyOf"] if one != {"type": "null"}]
        rest = {key: value for key, value in schema.items() if key != "anyOf"}
        parameter["schema"] = {**possible[0], **rest} if len(possible) == 1 else {**rest, "anyOf": possible}


def _used_tags(document: dict[str, Any]) -> list[dict[str, str]]:
    used = {tag for _, _, operation in _operations(document) for tag in operation["tags"]} | {SENT_TAG}
    return [{"name": name, "description": TAGS.get(name, name)} for name in sorted(used)]


def _for_generators(node: Any) -> Any:
    """The schemas in a part of the document as generators understand them.

    Many misread a list of types, which becomes `anyOf`. A default of null says nothing, and makes the field required in
    some clients.
    """
    if isinstance(node, list):
        return [_for_generators(one) for one in node]
    if not isinstance(node, dict):
        return node
    expanded = {name: _for_generators(value) for name, value in node.items()}
    if expanded.get("default", ...) is None:
        del expanded["default"]
    types = node.get("type")
    if not isinstance(types, list):
        return expanded
    outer = {name: expanded[name] for name in ("title", "description", "default") if name in expanded}
    inner = {name: value for name, value in expanded.items() if name not in outer and name != "type"}
    return outer | {"anyOf": [{"type": one, **_applicable(one, inner)} for one in types]}


def _say_defaults(schema: dict[str, Any]) -> None:
    """Say the defaults of an object's fields in words: clients in TypeScript demand a field that has the keyword."""
    for name, field in schema.get("properties", {}).items():
        if "default" not in field:
            continue
        default = field.pop("default")
        if name not in schema.get("required", ()):
            said = default if isinstance(default, str) else orjson.dumps(default).decode()
            parts = [field.get("description", "").rstrip("."), f"Default: `{said}`."]
            field["description"] = ". ".join(filter(None, parts))


_KEYWORDS = {
    "array": ("items", "minItems", "maxItems", "uniqueItems"),
    "object": ("properties", "required", "additionalProperties"),
    "string": ("format", "pattern", "minLength", "maxLength"),
    "integer": ("format", "minimum", "maximum"),
}


def _applicable(type_: str, keywords: dict[str, Any]) -> dict[str, Any]:
    return {name: keywords[name] for name in _KEYWORDS.get(type_, ()) if name in keywords}
