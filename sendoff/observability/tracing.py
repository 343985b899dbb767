"""Traces: spans of publishing and delivering, sent by OTLP if the environment says where to.

A span is passed on as a `traceparent` and what vendors add to it as a `tracestate` (W3C Trace Context,
https://www.w3.org/TR/trace-context/): they come with the request that publishes, are kept with the event and are sent
to receivers, also where no spans are made. Both together, a space between them, are a trace context here.
OpenTelemetry is imported only if `OTEL_EXPORTER_OTLP_ENDPOINT` is set; it comes with `sendoff[otel]`.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import structlog

from sendoff import __version__
from sendoff.errors import BadSettings

if TYPE_CHECKING:
    from opentelemetry.context import Context as OtelContext
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span as OtelSpan

Kind = Literal["server", "producer", "consumer", "client"]
Attributes = Mapping[str, str | int]

ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_FLUSH_SECONDS = 5
_TRACESTATE = re.compile(r"[a-z0-9][a-z0-9_*/@-]{0,255}=[!-+\--<>-~ ]{0,255}[!-+\--<>-~]")  # a member of the list
_MOST_MEMBERS = 32

LONGEST_TRACESTATE = 512
"""Characters of a `tracestate` that is passed on, the least that W3C Trace Context asks for; a longer one is left out.
More would be kept with every event."""

_log = structlog.get_logger(__name__)


def parse_traceparent(text: str | None) -> str | None:
    """The header's value if it is a valid `traceparent` of version 00; else None, as the specification asks for."""
    return text if text is not None and _TRACEPARENT.fullmatch(text) else None


def trace_context(traceparent: str | None, tracestate: str | None) -> str | None:
    """Both as an event keeps them; None without a valid `traceparent`. A `tracestate` that is not one is left out."""
    if traceparent is None or parse_traceparent(traceparent) is None:
        return None
    members = [member for member in map(str.strip, (tracestate or "").split(",")) if member]
    if not members or len(members) > _MOST_MEMBERS or not all(map(_TRACESTATE.fullmatch, members)):
        return traceparent
    joined = ",".join(members)
    return f"{traceparent} {joined}" if len(joined) <= LONGEST_TRACESTATE else traceparent


def trace_headers(context: str) -> list[tuple[str, str]]:
    """The headers of a request within the trace context."""
    traceparent, _, tracestate = context.partition(" ")
    headers = [("traceparent", traceparent)]
    return [*headers, ("tracestate", tracestate)] if tracestate else headers


def open_tracer(service: str) -> Tracer | None:
    """A tracer for this process; None unless the environment says where spans are to be sent.

    Raises BadSettings if it does and OpenTelemetry is not installed.
    """
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or not any(map(os.environ.get, ENDPOINT_VARIABLES)):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise BadSettings(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set without OpenTelemetry; install sendoff[otel], or unset it."
        ) from None
    resource = Resource.create(
        {
            "service.name": os.environ.get("OTEL_SERVICE_NAME", service),
            "service.version": __version__,
            "host.name": socket.gethostname(),
            "process.pid": os.getpid(),
        }
    )
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _log.info("traces_sent", service=service)
    return Tracer(provider)


class Tracer:
    """Begins spans. Spans are sent from a thread, in batches; those that no collector takes are dropped."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry import trace

        self._provider = provider
        self._tracer = provider.get_tracer("sendoff", __version__)
        self._trace = trace
        self._kinds = {kind.name.lower(): kind for kind in trace.SpanKind}

    def begin(self, name: str, parent: str | None, *, kind: Kind, since: datetime | None = None) -> Span:
        """A span under the one that the trace context names, else the first of a trace; it begins now, or earlier."""
        started = None if since is None else round(since.timestamp() * 1e9)
        return Span(self._tracer.start_span(name, self._context_of(parent), kind=self._kinds[kind], start_time=started))

    def note(self, name: str, parent: str | None, attributes: Attributes, *, kind: Kind, since: datetime | None) -> str:
        """Make a span that ends now; return the trace context of what follows from it."""
        span = self.begin(name, parent, kind=kind, since=since)
        span.end(attributes)
        return span.trace_context

    async def aclose(self) -> None:
        """Send what is finished, for some seconds at most."""
        await asyncio.to_thread(self._provider.force_flush, _FLUSH_SECONDS * 1000)
        await asyncio.to_thread(self._provider.shutdown)

    def _context_of(self, parent: str | None) -> OtelContext:
        traceparent, _, tracestate = (parent or "").partition(" ")
        match = _TRACEPARENT.fullmatch(traceparent)
        if match is None:
            return self._trace.set_span_in_context(self._trace.INVALID_SPAN)
        trace_id, span_id, flags = (int(part, 16) for part in match.groups())
        state = self._trace.TraceState.from_header([tracestate]) if tracestate else None
        above = self._trace.SpanContext(
            trace_id, span_id, is_remote=True, trace_flags=self._trace.TraceFlags(flags), trace_state=state
        )
        return self._trace.set_span_in_context(self._trace.NonRecordingSpan(above))


class Span:
    """Something that takes time, until it is ended."""

    def __init__(self, span: OtelSpan) -> None:
        self._span = span

    @property
    def trace_context(self) -> str:
        """What spans within it name as their parent."""
        context = self._span.get_span_context()
        traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
        return f"{traceparent} {context.trace_state.to_header()}".rstrip()

    def end(self, attributes: Attributes, *, error: str | None = None) -> None:
        """It is over; `error` says why what it stands for failed."""
        self._span.set_attributes(dict(attributes))
        if error is not None:
            from opentelemetry.trace import StatusCode

            self._span.set_status(StatusCode.ERROR, error)
        self._span.end()
