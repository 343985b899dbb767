"""A worker's metrics: served on the address that the settings name, and refused in a sentence where that fails."""

from __future__ import annotations

import socket

import httpx
import pytest

from sendoff.errors import Invalid
from sendoff.settings import load
from tests.support.ports import free_port
from worker.process import serve_metrics

KEYS = ["k" * 32]


def test_metrics_are_served_on_loopback_alone_by_default() -> None:
    port = free_port()
    serve_metrics(load(secret_keys=KEYS, worker_metrics_port=port))
    assert "sendoff_dead_letters_total" in httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    with socket.socket() as other:  # on all addresses, 127.0.0.2 would be taken as well
        other.bind(("127.0.0.2", port))


def test_metrics_are_served_on_the_address_of_the_setting() -> None:
    port = free_port()
    serve_metrics(load(secret_keys=KEYS, worker_metrics_port=port, worker_metrics_host="127.0.0.3"))
    assert httpx.get(f"http://127.0.0.3:{port}/metrics", trust_env=False).is_success
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1", "no such host"])
def test_a_taken_port_or_foreign_address_is_refused_in_a_sentence(host: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = load(secret_keys=KEYS, worker_metrics_port=taken.getsockname()[1], worker_metrics_host=host)
        with pytest.raises(Invalid, match="SENDOFF_WORKER_METRICS_HOST"):
            serve_metrics(settings)
