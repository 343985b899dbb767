"""The OpenAPI document: the framework's, with the bodies that routes read themselves and without its own 422."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, Field

from .openapi_parts import complete

_REFERENCE = "#/components/schemas/{model}"
_COMPONENTS = "x-components"
_ALWAYS = (400, 401, 403, 429, 500, 503)


class PingFailedDetail(BaseModel):
    """The endpoint did not answer the ping with a 2xx."""

    error: Literal["ping_failed"]
    message: str
    status_code: int | None = Field(description="What the receiver answered; null if the request never completed.")
    underlying_error: str | None = Field(description="What happened on the network, if the request never completed.")


class RateLimitDetail(BaseModel):
    """More requests in this minute than the bucket allows."""

    error: Literal["rate_limit_exceeded"]
    limit: int
    observed: int
    retry_after_seconds: int


class MinContactsDetail(BaseModel):
    """Too few valid phone numbers."""

    error: Literal["min_contacts_required"]
    min: int
    got: int
    message: str


class Error(BaseModel):
    """What went wrong and what to do about it."""

    detail: str


class BadRequest(BaseModel):
    """Malformed input or a violated constraint."""

    detail: str | PingFailedDetail


class RateLimitedError(BaseModel):
    """Too many requests; `Retry-After` says when to come back."""

    detail: RateLimitDetail


class TooFewContactsError(BaseModel):
    """Fewer valid phone numbers than an upload needs."""

    detail: MinContactsDetail


MEANINGS: dict[int, tuple[str, type[BaseModel]]] = {
    400: ("Malformed input or a violated constraint", BadRequest),
    401: ("Missing, malformed, unknown, expired or revoked API key", Error),
    402: ("Insufficient credits", Error),
    403: ("The API key lacks the scope, or the organization the subscription", Error),
    404: ("Unknown, or of another organization", Error),
    408: ("The body did not arrive in time", Error),
    409: ("In conflict with the current state", Error),
    413: ("Larger than the limit", Error),
    415: ("Content type not supported", Error),
    422: ("Too few valid phone numbers", TooFewContactsError),
    429: ("Rate limit exceeded", RateLimitedError),
    500: ("Unexpected; safe to retry", Error),
    503: ("Briefly unavailable; safe to retry", Error),
}


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: these statuses, and those that every authenticated route has."""
    return {
        status: {"description": MEANINGS[status][0], "model": MEANINGS[status][1]}
        for status in sorted({*statuses, *_ALWAYS, *((408,) if 413 in statuses else ())})
    }


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """The `openapi_extra` of a route that reads its JSON body with `json_body(model)`."""
    return request_body(model.__name__, model.model_json_schema(ref_template=_REFERENCE))


def optional_body_of(model: type[BaseModel]) -> dict[str, Any]:
    """The `openapi_extra` of a route that reads its JSON body with `optional_json_body(model)`."""
    extra = body_of(model)
    extra["requestBody"]["required"] = False
    return extra


def request_body(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The `openapi_extra` of a route with a JSON body of that schema, documented under `name`."""
    components = {**schema.pop("$defs", {}), name: schema}
    reference = {"$ref": _REFERENCE.format(model=name)}
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": reference}}},
        _COMPONENTS: components,
    }


def document(app: FastAPI, plain: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The OpenAPI document of the application, made once; `plain` has the operations that the framework can't see."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, routes=app.routes)
        for path, operations in plain.items():
            made["paths"].setdefault(path, {}).update(deepcopy(dict(operations)))
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        for operations in made["paths"].values():
            for operation in operations.values():
                schemas.update(operation.pop(_COMPONENTS, {}))
                _drop_framework_errors(operation)
                operation["summary"] = _summary(operation["operationId"])
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        app.openapi_schema = complete(made)
    return app.openapi_schema


def _summary(operation_id: str) -> str:
    """`listDeadLetters` as `List dead letters`."""
    words = re.sub("([A-Z])", r" \1", operation_id).lower()
    return words[0].upper() + words[1:]


def described_responses(responses: Mapping[int | str, Mapping[str, Any]]) -> dict[str, Any]:
    """`error_responses` in the words of OpenAPI, for operations that the framework can't see."""
    return {
        str(status): {
            "description": response["description"],
            "content": {"application/json": {"schema": {"$ref": _REFERENCE.format(model=response["model"].__name__)}}},
        }
        for status, response in responses.items()
    }


def _drop_framework_errors(operation: dict[str, Any]) -> None:
    if "HTTPValidationError" in str(operation.get("responses", {}).get("422", "")):
        del operation["responses"]["422"]
