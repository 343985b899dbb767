"""The way out to alert endpoints: HTTP to addresses that operators may name, and mail."""

from __future__ import annotations

from collections.abc import Sequence

from sendoff.policy.endpoints.addresses import MAILTO, Address, Target
from sendoff.wire.http.client import Client
from sendoff.wire.http.message import Response
from sendoff.wire.smtp import Mailer
from sendoff.wire.tls.client_certificate import ClientCertificate


class AlertWire:
    """What `Client` is to customers' endpoints."""

    def __init__(self, client: Client, mailer: Mailer) -> None:
        self._client = client
        self._mailer = mailer

    async def send(
        self,
        target: Target,
        head: bytes,
        body: bytes,
        *,
        timeout: float,  # noqa: ASYNC109 - as Client.send
        owner: str | None = None,
        certificate: ClientCertificate | None = None,
    ) -> Response:
        """Send one request, or one mail, and get the response within `timeout` seconds. Raises WireError."""
        if target.scheme == MAILTO:
            return await self._mailer.send(target, body, timeout=timeout)
        return await self._client.send(target, head, body, timeout=timeout, owner=owner, certificate=certificate)

    async def check(
        self,
        target: Target,
        *,
        timeout: float,  # noqa: ASYNC109 - as Client.check
        owner: str | None = None,
    ) -> Sequence[Address]:
        """The addresses of `target`, judged; none of mail, which goes to the installation's mail server."""
        if target.scheme == MAILTO:
            return ()
        return await self._client.check(target, timeout=timeout, owner=owner)

    async def check_mail(self, *, timeout: float) -> None:  # noqa: ASYNC109 - as `send` has it
        """Connect to the mail server and log in, without sending anything. Raises WireError."""
        await self._mailer.check(timeout=timeout)

    async def aclose(self) -> None:
        await self._client.aclose()
