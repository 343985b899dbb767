"""What a route says of itself in the OpenAPI document: its JSON body and its errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

REFERENCE = "#/components/schemas/{model}"

COMPONENTS = "x-components"
"""The key under which an operation brings the schemas that its body refers to; `document` moves them to their place."""

_ALWAYS = (400, 401, 403, 429, 500, 503)


class PingFailedDetail(BaseModel):
    """The endpoint did not answer the ping with a 2xx."""

    error: Literal["ping_failed"]
    message: str
    status_code: int | None = Field(description="What the receiver answered; null if the request never completed.")
    underlying_error: str | None = Field(description="What happened on the network, if the request never completed.")


class RateLimitDetail(BaseModel):
    """More requests in this minute than the limit allows."""

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

ERROR_MODELS = (Error, BadRequest, RateLimitedError, TooFewContactsError)


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: these statuses, and those that every authenticated route has."""
    return {
        status: response_of(*MEANINGS[status])
        for status in sorted({*statuses, *_ALWAYS, *((408,) if 413 in statuses else ())})
    }


def open_responses() -> dict[int | str, dict[str, Any]]:
    """The errors of a route that every client may ask."""
    return {
        400: response_of("The request is malformed", Error),
        503: response_of(*MEANINGS[503]),
    }


def response_of(description: str, model: type[BaseModel]) -> dict[str, Any]:
    """A JSON response. A reference instead of the model itself spares the framework a validator for each of them."""
    return response_named(model.__name__, description)


def response_named(name: str, description: str) -> dict[str, Any]:
    """A JSON response with the schema of that name."""
    return {"description": description, "content": {"application/json": {"schema": reference_to(name)}}}


def reference_to(name: str) -> dict[str, str]:
    """The reference to the schema of that name."""
    return {"$ref": REFERENCE.format(model=name)}


def either_of(name: str, description: str, *models: type[BaseModel]) -> dict[str, Any]:
    """A named schema with the fields of several models, none of which must be there.

    For an operation that answers one or the other. Generators that know one response per operation, or cannot tell the
    members of a union apart, would otherwise take one for the other.
    """
    properties: dict[str, Any] = {}
    for model in models:
        properties |= model.model_json_schema(mode="serialization", ref_template=REFERENCE)["properties"]
    return {name: {"type": "object", "title": name, "description": description, "properties": properties}}


def with_schemas(extra: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """An `openapi_extra` that brings more schemas."""
    return {**extra, COMPONENTS: extra[COMPONENTS] | schemas}


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """The `openapi_extra` of a route that reads its JSON body with `json_body(model)`."""
    return request_body(model.__name__, model.model_json_schema(ref_template=REFERENCE))


def optional_body_of(model: type[BaseModel]) -> dict[str, Any]:
    """The `openapi_extra` of a route that reads its JSON body with `optional_json_body(model)`."""
    extra = body_of(model)
    extra["requestBody"]["required"] = False
    return extra


def request_body(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The `openapi_extra` of a route with a JSON body of that schema, documented under `name`."""
    own = {key: value for key, value in schema.items() if key != "$defs"}
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": reference_to(name)}}},
        COMPONENTS: {**schema.get("$defs", {}), name: own},
    }
