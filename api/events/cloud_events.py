"""CloudEvents over HTTP: structured (`application/cloudevents+json`), binary, in `ce-…` headers, or in batches."""

from __future__ import annotations

from urllib.parse import unquote

from starlette.datastructures import Headers

from sendoff.publishing.incoming.cloud_events import BATCH, FAMILY, CloudEvent, read_binary, read_structured

from ..http.bodies import media_type_of


def is_cloud_event(headers: Headers) -> bool:
    """Whether the request is a CloudEvent, or several, in any form."""
    return "ce-specversion" in headers or media_type_of(headers).startswith(FAMILY)


def is_cloud_batch(headers: Headers) -> bool:
    """Whether the request is a batch of CloudEvents."""
    return media_type_of(headers) == BATCH


def read_cloud_event(headers: Headers, body: bytes) -> CloudEvent:
    """The event of a request for a single one. Raises Invalid, which names the attribute, or UnsupportedMediaType."""
    declared = media_type_of(headers)
    if declared.startswith(FAMILY):
        return read_structured(body, declared)
    # Values are percent-encoded (HTTP binding, 3.1.3.2).
    attributes = {name[3:]: unquote(value) for name, value in headers.items() if name.startswith("ce-")}
    return read_binary(attributes, declared, body)
