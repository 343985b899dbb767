"""Mutual TLS: a receiver that demands a client certificate gets the one of the request, and of no other."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import pytest
import trustme

from sendoff.wire.errors import WireError
from sendoff.wire.http.client import Client
from sendoff.wire.tls import client_certificate
from sendoff.wire.tls.client_certificate import ClientCertificate
from tests.integration.wire.receivers import LOOPBACK, OK, FixedResolver, Peer, receiving


@pytest.fixture(scope="module")
def clients() -> trustme.CA:
    """The authority that the receiver asks its clients for."""
    return trustme.CA()


def demanding(ca: trustme.CA, clients: trustme.CA, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("hooks.example").configure_cert(context)
    clients.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = version
    return context


def issue(clients: trustme.CA, name: str) -> ClientCertificate:
    issued = clients.issue_cert(name)
    chain = "".join(blob.bytes().decode() for blob in issued.cert_chain_pems)
    return ClientCertificate(chain, issued.private_key_pem.bytes().decode())


def client_for(ca: trustme.CA) -> Client:
    def new_context() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ca.configure_trust(context)
        return context

    resolver = FixedResolver(hooks_example=[["127.0.0.1"]])
    return Client(LOOPBACK, ssl_context=new_context(), new_ssl_context=new_context, resolver=resolver)


def naming(seen: list[tuple[int, str]]) -> Callable[[Peer], Any]:
    async def behave(peer: Peer) -> None:
        while True:
            await peer.request()
            [[_, name]] = peer.writer.get_extra_info("peercert")["subjectAltName"]
            seen.append((peer.number, name))
            await peer.send(OK)

    return behave


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_connection_is_used_again_only_under_the_certificate_that_it_was_opened_with(
    ca: trustme.CA, clients: trustme.CA, version: ssl.TLSVersion
) -> None:
    seen: list[tuple[int, str]] = []
    first, second = issue(clients, "first.example"), issue(clients, "second.example")
    context = demanding(ca, clients, version)
    async with client_for(ca) as client, receiving(naming(seen), tls=context) as receiver:
        for certificate in (first, second, first, second):
            target = receiver.target(host="hooks.example")
            assert (await client.send(target, b"", b"{}", timeout=5, certificate=certificate)).body == b"ok"
    assert seen == [(1, "first.example"), (2, "second.example"), (1, "first.example"), (2, "second.example")]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_without_a_certificate_the_receiver_takes_nothing(
    ca: trustme.CA, clients: trustme.CA, version: ssl.TLSVersion
) -> None:
    seen: list[tuple[int, str]] = []
    context = demanding(ca, clients, version)
    async with client_for(ca) as client, receiving(naming(seen), tls=context) as receiver:
        with pytest.raises(WireError) as failure:
            await client.send(receiver.target(host="hooks.example"), b"", b"{}", timeout=5)
    assert not failure.value.is_local
    assert seen == []


async def test_a_certificate_that_tls_does_not_take_is_said_in_words(ca: trustme.CA, clients: trustme.CA) -> None:
    mixed = ClientCertificate(issue(clients, "a.example").certificate, issue(clients, "b.example").private_key)
    context = demanding(ca, clients, ssl.TLSVersion.TLSv1_3)
    async with client_for(ca) as client, receiving(naming([]), tls=context) as receiver:
        with pytest.raises(WireError, match="client certificate of the endpoint cannot be used"):
            await client.send(receiver.target(host="hooks.example"), b"", b"{}", timeout=5, certificate=mixed)


async def test_contexts_that_were_used_longest_ago_are_forgotten(
    ca: trustme.CA, clients: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_certificate, "MOST_CONTEXTS", 2)
    made = []

    def new_context() -> ssl.SSLContext:
        made.append(1)
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    contexts = client_certificate.CertifiedContexts(new_context)
    a, b, c = (issue(clients, f"{name}.example") for name in "abc")
    for certificate in (a, b, a, c, a, b):
        await contexts.present(certificate)
    assert len(made) == 4
