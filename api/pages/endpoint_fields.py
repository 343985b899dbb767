"""An endpoint's fields on pages, made from their schema: facts for readers, inputs for forms.

A field that owners may change is on the pages of portal and dashboard and in the portal's form without another line,
unless `_OWN_INPUTS` names it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from sendoff.endpoints.fields import EndpointView
from sendoff.errors import Invalid

from ..optimaldial.schemas import WebhookChange
from .rendering import spell

AUTH_LABELS = {
    "none": "none beyond the signature",
    "basic": "user name and password (HTTP Basic)",
    "bearer": "a fixed token (Bearer)",
    "oauth2": "OAuth 2.0 client credentials",
    "mtls": "client certificate (mutual TLS)",
}

_LABELS = {
    "auth": "Authentication",
    "headers": "Own headers",
    "retry_schedule": "Waits between attempts",
    "timeout_seconds": "Longest time for an attempt, in seconds",
    "max_in_flight": "Requests at a time, at most",
    "rate_limit": "Requests a second, at most",
    "ordered": "One at a time, in the order of the events",
}
"""What people read for a field whose name alone does not say it."""

_IN_HEADINGS = frozenset({"url", "description", "events", "is_active"})
"""Fields that every page of an endpoint shows in a place of their own."""

_OWN_INPUTS = _IN_HEADINGS | {"filter", "transform", "headers", "auth", "retry_schedule"}
"""Fields that forms ask for in a way of their own."""

_MOST_DIGITS = 9

Kind = Literal["checkbox", "number", "text", "json"]
_KINDS: Mapping[str, Kind] = {"boolean": "checkbox", "integer": "number", "string": "text"}


@dataclass(frozen=True, slots=True)
class Fact:
    """A field that is set, as an endpoint's page lists it."""

    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Input:
    """A field that a form asks for."""

    name: str
    """In the form, as in the API."""
    attribute: str
    """Of the row and the view."""
    kind: Kind
    help: str

    @property
    def label(self) -> str:
        return _label(self.name)

    def write(self, value: Any) -> str:
        """The value as the form holds it; empty if it is not set."""
        if value is None or value is False:
            return ""
        match self.kind:
            case "checkbox":
                return "yes"
            case "json":
                return orjson.dumps(value).decode()
            case "number" | "text":
                return str(value)

    def read(self, text: str) -> Any:
        """The value of what was sent. Raises Invalid, which names the field."""
        match self.kind:
            case "checkbox":
                return bool(text)
            case "number":
                return _number(self.name, text)
            case "json":
                return _parse(self.name, text) if text else None
            case "text":
                return text or None


def facts_of(view: EndpointView) -> list[Fact]:
    """What holds for an endpoint beside the installation's values, in the order of the API's fields.

    Its rate is the lower of the owner's and an operator's.
    """
    values = {name: getattr(view, attribute) for name, attribute in _names().items() if name not in _IN_HEADINGS}
    if view.auth:
        values["auth"] = AUTH_LABELS[view.auth.type]
    if view.headers:
        values["headers"] = ", ".join(view.headers)  # their values are hidden
    if view.retry_schedule == []:
        values["retry_schedule"] = "none: a single attempt"
    return [Fact(_label(name), text) for name, value in values.items() if value is not False and (text := spell(value))]


def _names() -> dict[str, str]:
    """The fields that owners may change: the name in the API, and that of the attribute."""
    return {field.alias or name: name for name, field in WebhookChange.model_fields.items()}


def _inputs() -> Iterator[Input]:
    properties = WebhookChange.model_json_schema()["properties"]
    for name, attribute in _names().items():
        schema = properties[name]
        value = next((one for one in schema.get("anyOf", ()) if one != {"type": "null"}), schema)
        if name not in _OWN_INPUTS:
            kind = _KINDS.get(value.get("type"), "json")
            yield Input(name, attribute, kind, schema.get("description") or value.get("description", ""))


def _label(name: str) -> str:
    return _LABELS.get(name) or name.replace("_", " ").capitalize()


def _number(name: str, text: str) -> int | None:
    if text and not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise Invalid(f"`{name}` takes a whole number, or nothing for the installation's value.", field=name)
    return int(text) if text else None


def _parse(name: str, text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Invalid(f"`{name}` is not JSON: {error}.", field=name) from None


INPUTS = tuple(_inputs())
"""What the portal's form asks for by the schema alone."""
