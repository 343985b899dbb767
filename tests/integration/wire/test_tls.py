"""TLS: who a receiver is, is checked for each host name on each connection."""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from sendoff.wire.errors import TlsFailed
from sendoff.wire.http.client import Client
from sendoff.wire.tls.failures import broken_connection, handshake_failure
from sendoff.wire.tls.trust import default_ssl_context
from tests.integration.wire.receivers import LOOPBACK, OK, FixedResolver, Peer, answering, receiving, well_behaved

BODY = b"{}"
CLOSING = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
ONE_ADDRESS = {"hooks_example": [["127.0.0.1"]], "other_example": [["127.0.0.1"]]}


def serving(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def client_for(context: ssl.SSLContext) -> Client:
    return Client(LOOPBACK, ssl_context=context, resolver=FixedResolver(**ONE_ADDRESS))


async def test_a_receiver_with_a_valid_certificate_is_reached_and_its_connection_reused(
    ca: trustme.CA, trusting: ssl.SSLContext
) -> None:
    names: list[str | None] = []
    context = serving(ca.issue_cert("hooks.example"))
    context.sni_callback = lambda _object, name, _context: names.append(name)

    async with client_for(trusting) as client, receiving(well_behaved, tls=context) as receiver:
        for _ in range(3):
            response = await client.send(receiver.target(host="hooks.example"), b"", BODY, timeout=5)
            assert response.body == b"ok"

    assert receiver.connections == 1
    assert names == ["hooks.example"]


def _self_signed() -> trustme.LeafCert:
    return trustme.CA(organization_name="Somebody else").issue_cert("hooks.example")


@pytest.mark.parametrize(
    "issue",
    [
        pytest.param(lambda ca: ca.issue_cert("other.example"), id="wrong name"),
        pytest.param(lambda ca: ca.issue_cert("127.0.0.1"), id="the address instead of the name"),
        pytest.param(lambda ca: ca.issue_cert("*.hooks.example"), id="wildcard below the name"),
        pytest.param(
            lambda ca: ca.issue_cert("hooks.example", not_after=datetime.now(UTC) - timedelta(days=1)), id="expired"
        ),
        pytest.param(
            lambda ca: ca.issue_cert("hooks.example", not_before=datetime.now(UTC) + timedelta(days=1)), id="too early"
        ),
        pytest.param(lambda _ca: _self_signed(), id="unknown authority"),
    ],
)
async def test_a_receiver_that_cannot_prove_who_it_is_gets_nothing(
    ca: trustme.CA, trusting: ssl.SSLContext, issue: object
) -> None:
    assert callable(issue)
    requests: list[bytes] = []

    async def listens(peer: Peer) -> None:
        requests.append(await peer.request())
        await peer.send(OK)

    async with client_for(trusting) as client, receiving(listens, tls=serving(issue(ca))) as receiver:
        with pytest.raises(TlsFailed) as failed:
            await client.send(receiver.target(host="hooks.example"), b"", BODY, timeout=5)

    assert requests == []
    assert not failed.value.is_local
    assert "certificate" in str(failed.value)
    assert "127.0.0.1" not in str(failed.value) or "not valid for" in str(failed.value)


async def test_two_host_names_on_one_address_never_share_a_connection(ca: trustme.CA, trusting: ssl.SSLContext) -> None:
    context = serving(ca.issue_cert("hooks.example"))

    async with client_for(trusting) as client, receiving(well_behaved, tls=context) as receiver:
        assert (await client.send(receiver.target(host="hooks.example"), b"", BODY, timeout=5)).status == 200
        with pytest.raises(TlsFailed):
            await client.send(receiver.target(host="other.example"), b"", BODY, timeout=5)
        assert (await client.send(receiver.target(host="hooks.example"), b"", BODY, timeout=5)).status == 200

    assert receiver.connections <= 2


async def test_two_host_names_on_one_certificate_never_share_a_connection_either(
    ca: trustme.CA, trusting: ssl.SSLContext
) -> None:
    context = serving(ca.issue_cert("hooks.example", "other.example"))

    async with client_for(trusting) as client, receiving(well_behaved, tls=context) as receiver:
        for host in ("hooks.example", "other.example", "hooks.example", "other.example"):
            assert (await client.send(receiver.target(host=host), b"", BODY, timeout=5)).status == 200

    assert receiver.connections == 2


async def test_an_old_protocol_is_refused(ca: trustme.CA, tmp_path: Path) -> None:
    context = serving(ca.issue_cert("hooks.example"))
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")

    trusting = default_ssl_context(tmp_path / "ca.pem")
    async with client_for(trusting) as client, receiving(well_behaved, tls=context) as receiver:
        with pytest.raises(TlsFailed):
            await client.send(receiver.target(host="hooks.example"), b"", BODY, timeout=5)


async def test_a_receiver_that_does_not_speak_tls_is_a_failure_of_tls(trusting: ssl.SSLContext) -> None:
    async def speaks_plainly(peer: Peer) -> None:
        await peer.send(OK)

    async def hangs_up(peer: Peer) -> None:
        peer.reset()

    for behaviour in (speaks_plainly, hangs_up):
        async with client_for(trusting) as client, receiving(behaviour) as receiver:
            receiver.scheme = "https"
            with pytest.raises(TlsFailed):
                await client.send(receiver.target(host="hooks.example"), b"", BODY, timeout=5)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_every_new_connection_is_verified(
    ca: trustme.CA, trusting: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    resumed: list[bool] = []
    context = serving(ca.issue_cert("hooks.example"))
    context.maximum_version = version

    async def closes_each_connection(peer: Peer) -> None:
        await peer.request()
        resumed.append(peer.resumed())
        await peer.send(CLOSING)

    async with client_for(trusting) as client:
        async with receiving(closes_each_connection, tls=context) as receiver:
            for _ in range(3):
                await client.send(receiver.target(host="hooks.example"), b"", BODY, timeout=5)
        async with receiving(closes_each_connection, tls=serving(ca.issue_cert("other.example"))) as usurper:
            with pytest.raises(TlsFailed, match="mismatch"):
                await client.send(usurper.target(host="hooks.example"), b"", BODY, timeout=5)

    assert resumed == [False] * 3


async def test_a_body_may_end_with_an_encrypted_connection_too(ca: trustme.CA, trusting: ssl.SSLContext) -> None:
    behaviour = answering(b"HTTP/1.1 200 OK\r\n\r\n", b"all of it", then_close=True)

    async with (
        client_for(trusting) as client,
        receiving(behaviour, tls=serving(ca.issue_cert("hooks.example"))) as receiver,
    ):
        response = await client.send(receiver.target(host="hooks.example"), b"", BODY, timeout=5)

    assert (response.status, response.body) == (200, b"all of it")


async def test_a_context_that_trusts_everybody_is_refused() -> None:
    careless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    careless.check_hostname = False
    with pytest.raises(ValueError, match="verify"):
        Client(LOOPBACK, ssl_context=careless)
    careless.verify_mode = ssl.CERT_NONE
    with pytest.raises(ValueError, match="verify"):
        Client(LOOPBACK, ssl_context=careless)


async def test_the_default_context_trusts_a_private_authority_only_when_configured(
    ca: trustme.CA, tmp_path: Path
) -> None:
    context = serving(ca.issue_cert("hooks.example"))
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")

    async with receiving(answering(OK), tls=context) as receiver:
        target = receiver.target(host="hooks.example")
        async with client_for(default_ssl_context()) as client:
            with pytest.raises(TlsFailed):
                await client.send(target, b"", BODY, timeout=5)
        async with client_for(default_ssl_context(tmp_path / "ca.pem")) as client:
            assert (await client.send(target, b"", BODY, timeout=5)).status == 200


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "no reason was given|unknown error"),  # close_notify instead of a greeting
        (40, "refused the TLS handshake"),
        (42, "client certificate"),
        (46, "client certificate"),
        (47, "could not read"),
        (48, "client certificate.*unknown authority"),
        (49, "client certificate.*access denied"),
        (50, "could not read"),
        (70, "enable TLS 1.2"),
        (71, "ciphers are too weak"),
        (80, "see its log"),
        (112, "does not know the host name"),
        (115, "unknown psk identity"),
        (116, "demands a client certificate"),
        (120, "enable HTTP/1.1"),
    ],
)
def test_an_alert_of_the_receiver_is_told_in_words(number: int, text: str) -> None:
    incoming = ssl.MemoryBIO()
    connection = ssl.create_default_context().wrap_bio(incoming, ssl.MemoryBIO(), server_hostname="hooks.example")
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    incoming.write(bytes([0x15, 3, 3, 0, 2, 2, number]))
    with pytest.raises(ssl.SSLError) as raised:
        connection.do_handshake()

    message = str(handshake_failure(raised.value))

    assert re.search(text, message)
    assert not re.search("[_[]|ssl|v1|v3", message)


def test_a_client_certificate_that_is_missing_is_named_under_tls_1_3_too(
    ca: trustme.CA, trusting: ssl.SSLContext
) -> None:
    context = serving(ca.issue_cert("hooks.example"))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(to_client, to_server, server_hostname="hooks.example")
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server):
        with pytest.raises(ssl.SSLWantReadError):
            side.do_handshake()
    client.do_handshake()
    with pytest.raises(ssl.SSLError):
        server.do_handshake()
    with pytest.raises(ssl.SSLError) as raised:
        client.read()

    assert "demands a client certificate" in str(broken_connection(raised.value))


def test_a_reason_without_a_sentence_of_its_own_is_told_without_its_prefix() -> None:
    error = ssl.SSLError(1, "")
    error.reason = "SSLV3_ALERT_SOME_OTHER_REASON"
    assert str(handshake_failure(error)) == "The TLS handshake failed: some other reason."
    assert str(broken_connection(error)) == "The encrypted connection broke: some other reason."
