"""Traces: a publisher's span reaches the receiver, and with a collector every step has a span of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from sendoff.delivery.pipeline import claim
from sendoff.errors import BadSettings
from sendoff.observability import tracing
from tests.integration.api.api_fixture import open_api
from tests.support.app_fixture import open_app
from tests.support.processes import ROOT
from tests.support.receiver import Receiver

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "text", [None, "", "00", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", PARENT.upper(), PARENT + "-x"]
)
def test_an_invalid_traceparent_is_ignored(text: str | None) -> None:
    assert tracing.parse_traceparent(text) is None
    assert tracing.parse_traceparent(PARENT) == PARENT


async def test_a_publishers_traceparent_reaches_the_receiver_without_opentelemetry(
    database_url: str, valkey_url: str, receiver: Receiver
) -> None:
    async with open_api(database_url, valkey_url) as api:
        await api.register(receiver.url("/hook"))
        receiver.forget()
        body = {"type": "upload.completed", "data": {}}
        for headers in ({"traceparent": PARENT}, {"traceparent": "made-up"}, {}):
            assert (await api.post("/api/v1/events", body, headers=headers)).status_code == 202
        batch = await api.post("/api/v1/events/batch", {"events": [body, body]}, headers={"traceparent": PARENT})
        assert batch.status_code == 202
        kept = await api.post("/api/v1/events", body, headers={"traceparent": PARENT, "Idempotency-Key": "once"})
        assert kept.status_code == 202
        await api.app.work()
    sent = [dict(request.headers).get("traceparent") for request in receiver.requests("/hook")]
    assert sorted(sent, key=str) == [PARENT] * 4 + [None, None]


@pytest.mark.parametrize(
    ("tracestate", "kept"),
    [
        ("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        (" fw529a3039@dt=FfAD , ,a=b c ", "fw529a3039@dt=FfAD,a=b c"),
        ("", None),
        ("no member", None),
        ("A=b", None),
        ("a=\u00e9", None),
        ("a=" + "b" * 256, "a=" + "b" * 256),
        ("a=" + "b" * 257, None),
        (",".join(f"a{number}={'b' * 250}" for number in range(3)), None),
        (",".join(f"a{number}=b" for number in range(33)), None),
    ],
)
def test_a_tracestate_is_kept_unless_it_is_none_or_too_long(tracestate: str, kept: str | None) -> None:
    context = tracing.trace_context(PARENT, tracestate)
    assert context is not None
    headers = dict(tracing.trace_headers(context))
    assert (headers["traceparent"], headers.get("tracestate")) == (PARENT, kept)
    assert tracing.trace_context("made-up", tracestate) is None


async def test_a_publishers_tracestate_reaches_the_receiver(
    database_url: str, valkey_url: str, receiver: Receiver
) -> None:
    state = "a=" + "b" * 250 + ",c=" + "d" * 250
    async with open_api(database_url, valkey_url) as api:
        await api.register(receiver.url("/hook"))
        receiver.forget()
        headers = {"traceparent": PARENT, "tracestate": state}
        accepted = await api.call(
            "POST", "/api/v1/events", json={"type": "upload.completed", "data": {}}, headers=headers
        )
        assert accepted.status_code == 202
        await api.app.work()
    [request] = receiver.requests("/hook")
    assert (request.header("traceparent"), request.header("tracestate")) == (PARENT, state)


class Collector(HTTPServer):
    """An OTLP collector: takes spans as protobuf over HTTP, as any does."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Intake)
        self.spans: list[Any] = []


class _Intake(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
            ExportTraceServiceResponse,
        )

        assert (self.path, self.headers["Content-Type"]) == ("/v1/traces", "application/x-protobuf")
        sent = ExportTraceServiceRequest()
        sent.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
        for of_resource in sent.resource_spans:
            for scope in of_resource.scope_spans:
                self.server.spans += scope.spans
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.end_headers()
        self.wfile.write(ExportTraceServiceResponse().SerializeToString())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    server = Collector()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def test_every_step_has_a_span_of_the_publishers_trace(
    sqlite_url: str, valkey_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("opentelemetry.sdk")
    with collector(monkeypatch) as collected:
        tracer = tracing.open_tracer("sendoff-test")
        assert tracer is not None
        async with open_api(sqlite_url, valkey_url) as api:
            api.app.context = api.asgi.state.context = replace(api.app.context, tracer=tracer)
            await api.register(receiver.url("/hook"))
            receiver.forget()
            receiver.program("/hook", 500)
            body = {"type": "upload.completed", "data": {}}
            await api.post("/api/v1/events", body, headers={"traceparent": PARENT, "tracestate": "a=b"})
            await api.app.work()
        await tracer.aclose()
    spans = {span.name: span for span in collected.spans}
    assert set(spans) == {"publish", "enqueue", "claim", "attempt"}
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE}
    parents = {name: span.parent_span_id.hex() for name, span in spans.items()}
    ids = {name: span.span_id.hex() for name, span in spans.items()}
    assert parents == {"publish": SPAN, "enqueue": ids["publish"], "claim": ids["publish"], "attempt": ids["claim"]}
    [request] = receiver.requests("/hook")
    assert request.header("traceparent") == f"00-{TRACE}-{ids['attempt']}-01"
    assert request.header("tracestate") == "a=b"
    assert {span.trace_state for span in spans.values()} == {"a=b"}
    attempt = spans["attempt"]
    said = {one.key: one.value.int_value or one.value.string_value for one in attempt.attributes}
    assert (said["http.response.status_code"], said["sendoff.outcome"]) == (500, "server_error")
    assert attempt.status.code == attempt.status.STATUS_CODE_ERROR


async def test_a_claim_that_is_given_back_for_its_endpoints_cap_leaves_no_span(
    sqlite_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("opentelemetry.sdk")
    with collector(monkeypatch) as collected:
        tracer = tracing.open_tracer("sendoff-test")
        assert tracer is not None
        async with open_app(sqlite_url) as app:
            await app.register(receiver.url("/hook"), max_in_flight=1)
            ids = [(await app.publish())[0].delivery_ids[0] for _ in range(3)]
            [sent] = (await claim(replace(app.context, tracer=tracer), ids)).to_send
        await tracer.aclose()
    [span] = collected.spans
    assert span.name == "claim"
    assert {one.key: one.value.string_value for one in span.attributes}["sendoff.delivery_id"] == sent.delivery.id


def test_opentelemetrys_sdk_is_not_imported_unless_asked_for() -> None:
    code = "import sys, worker.process, api.app; print([m for m in sys.modules if m.startswith('opentelemetry.sdk')])"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_collector_without_opentelemetry_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(BadSettings, match=r"install sendoff\[otel\]"):
        tracing.open_tracer("sendoff-web")
