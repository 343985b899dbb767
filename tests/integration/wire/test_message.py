"""Requests: what callers give cannot break out of its place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendoff.policy.endpoints.addresses import AddressPolicy, check_url
from sendoff.wire.http.message import OWN_HEADERS, encode_headers, encode_request

TARGET = check_url("https://example.com/hooks", AddressPolicy())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X", "a\r\nInjected: b"),
        ("X", "a\nb"),
        ("X", "a\rb"),
        ("X", "a\x00b"),
        ("X", "a\x7fb"),
        ("X", "emoji 😀"),
        ("X\r\nInjected", "a"),
        ("X: Y", "a"),
        ("X Y", "a"),
        ("", "a"),
        ("Ä", "a"),
        *((name, "1") for name in ("Host", "content-length", "Transfer-Encoding", "CONNECTION", "accept-encoding")),
    ],
)
def test_a_header_that_could_change_the_request_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="header"):
        encode_headers([("Fine", "yes"), (name, value)])


def test_headers_keep_their_order_and_their_latin_1() -> None:
    assert encode_headers([("B", "1"), ("A", "ä\tb"), ("B", "")]) == b"B: 1\r\nA: \xe4\tb\r\nB: \r\n"


@given(st.lists(st.tuples(st.text(max_size=10), st.text(max_size=20)), max_size=5))
def test_encoded_headers_are_as_many_lines_as_there_are_headers(pairs: list[tuple[str, str]]) -> None:
    try:
        head = encode_headers(pairs)
    except ValueError:
        return

    lines = head.split(b"\r\n")
    assert len(lines) == len(pairs) + 1
    assert b"\r" not in b"".join(lines)
    assert b"\n" not in b"".join(lines)
    assert not {line.partition(b":")[0].decode().lower() for line in lines[:-1]} & OWN_HEADERS


@pytest.mark.parametrize(
    "head", [b"X: y", b"\r\n", b"\r\nX: y\r\n", b"X: y\r\n\r\n", b"X: y\r\n\r\nGET / HTTP/1.1\r\n", b"\r\n\r\n"]
)
def test_a_malformed_head_is_refused(head: bytes) -> None:
    with pytest.raises(ValueError, match="head"):
        encode_request("POST", TARGET, head, b"")


@pytest.mark.parametrize("method", ["", "post", "GET /x HTTP/1.1\r\nX:", "PO ST", "GÉT"])
def test_an_invalid_method_is_refused(method: str) -> None:
    with pytest.raises(ValueError, match="method"):
        encode_request(method, TARGET, b"", b"")


def test_an_empty_body_is_announced_where_one_is_expected() -> None:
    assert b"Content-Length: 0\r\n" in encode_request("POST", TARGET, b"", b"")
    assert b"Content-Length" not in encode_request("GET", TARGET, b"", b"")
    assert b"Content-Length: 1\r\n" in encode_request("DELETE", TARGET, b"", b"x")
