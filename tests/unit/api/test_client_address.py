"""The client of a request behind proxies, and the network that limits count it as."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from api.http.server.client_address import TrustedProxies, client_network, is_within

PROXIES = TrustedProxies([ip_network("10.0.0.0/8"), ip_network("fd00::/8")])


def scope(peer: str, **headers: str) -> dict[str, Any]:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"client": (peer, 4711), "scheme": "http", "headers": pairs}


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        ({"x_forwarded_for": "198.51.100.7"}, "198.51.100.7"),
        ({"x_forwarded_for": "1.2.3.4, 198.51.100.7"}, "198.51.100.7"),
        ({"x_forwarded_for": "1.2.3.4, 198.51.100.7, 10.1.1.1,10.2.2.2"}, "198.51.100.7"),
        ({"x_forwarded_for": "198.51.100.7:8080"}, "198.51.100.7"),
        ({"x_forwarded_for": "[2001:db8::7]:8080"}, "2001:db8::7"),
        ({"x_forwarded_for": "2001:db8::7"}, "2001:db8::7"),
        ({"x_forwarded_for": "10.9.9.9"}, "10.0.0.1"),
        ({"x_forwarded_for": ""}, "10.0.0.1"),
        ({"forwarded": "for=198.51.100.7;proto=https"}, "198.51.100.7"),
        ({"forwarded": 'for=1.2.3.4, For="[2001:db8::7]:99";by=10.0.0.1'}, "2001:db8::7"),
        ({"forwarded": "for=198.51.100.7", "x_forwarded_for": "198.51.100.7"}, "198.51.100.7"),
        ({"forwarded": "for=1.2.3.4", "x_forwarded_for": "198.51.100.7"}, "10.0.0.1"),
        ({"forwarded": "proto=https"}, "10.0.0.1"),
        ({}, "10.0.0.1"),
    ],
)
def test_a_trusted_proxy_reports_the_client_that_called_it(headers: dict[str, str], client: str) -> None:
    resolved = PROXIES.resolve(scope("10.0.0.1", **headers))
    assert resolved["client"][0] == client


def test_other_peers_report_nothing() -> None:
    claimed = scope("198.51.100.9", x_forwarded_for="1.2.3.4", forwarded="for=1.2.3.4", x_forwarded_proto="https")
    for proxies in (PROXIES, TrustedProxies()):
        assert proxies.resolve(claimed) == claimed


def test_the_scheme_is_that_of_the_nearest_proxy_and_never_an_invention() -> None:
    for headers, scheme in (
        ({"x_forwarded_proto": "https"}, "https"),
        ({"x_forwarded_proto": "http, https"}, "https"),
        ({"x_forwarded_proto": "HTTPS"}, "https"),
        ({"x_forwarded_proto": "javascript"}, "http"),
        ({"forwarded": "for=1.2.3.4;proto=https"}, "https"),
        ({}, "http"),
    ):
        assert PROXIES.resolve(scope("fd00::1", **headers))["scheme"] == scheme


def test_one_customer_has_one_network() -> None:
    assert client_network("198.51.100.7") == "198.51.100.7"
    assert client_network("::ffff:198.51.100.7") == "198.51.100.7"
    assert client_network("2001:db8:1:2::7") == client_network("2001:db8:1:2:ffff::8") == "2001:db8:1:2::/64"
    assert client_network("2001:db8:1:3::7") != client_network("2001:db8:1:2::7")
    assert client_network("testclient") == client_network("") == "unknown"
    assert is_within("::ffff:10.1.2.3", PROXIES.networks)
    assert not is_within("unknown", PROXIES.networks)
