"""Mail: one message to one address through the installation's mail server, within a deadline.

The server's reply takes the place of an HTTP response: its code is the status, its text the body. What the operator
names as the mail server is trusted: unlike receivers' addresses, it may be internal.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING

from sendoff.policy.endpoints.addresses import Target
from sendoff.wire.errors import ConnectFailed, ConnectionLost, LocalFailure, TimedOut, TlsFailed, WireError
from sendoff.wire.http.message import Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiosmtplib import SMTP

    from sendoff.server_urls.smtp import MailServer

_NO_SERVER = "No mail server is set: set SENDOFF_SMTP_URL and SENDOFF_SMTP_FROM in every process."
_MOST_AT_ONCE = 4  # connections to the mail server; servers limit how many one client may have


class Mailer:
    """Sends mail. Without a server every message fails with a sentence about the setting that is missing."""

    def __init__(
        self, server: MailServer | None, sender: str | None, make_ssl_context: Callable[[], ssl.SSLContext]
    ) -> None:
        self._server = server
        self._sender = sender
        self._make_ssl_context = cache(make_ssl_context)  # loading the authorities takes 30 ms
        self._turns = asyncio.Semaphore(_MOST_AT_ONCE)

    async def send(self, target: Target, message: bytes, *, timeout: float) -> Response:  # noqa: ASYNC109 - as Client.send
        """Hand the message for `target`, a checked `mailto:`, to the server within `timeout` seconds.

        `message` has no sender and recipient yet. Raises WireError.
        """
        server, sender = self._server, self._sender
        if server is None or sender is None:
            raise LocalFailure(_NO_SERVER)
        complete = f"From: {sender}\r\nTo: {target.path}\r\n".encode() + message
        started = time.monotonic()
        try:
            async with asyncio.timeout(timeout), self._turns, self._connection(server) as client:
                status, text = await _hand_over(client, sender, target.path, complete)
        except TimeoutError:
            raise TimedOut("headers") from None
        elapsed = round((time.monotonic() - started) * 1000)
        return Response(status=status, headers=(), body=text.encode(), truncated=False, elapsed_ms=elapsed)

    async def check(self, *, timeout: float) -> None:  # noqa: ASYNC109 - as Client.check
        """Connect to the server and log in, without sending anything. Raises WireError."""
        if self._server is None:
            raise LocalFailure(_NO_SERVER)
        try:
            async with asyncio.timeout(timeout), self._connection(self._server):
                return
        except TimeoutError:
            raise TimedOut("connect") from None

    @asynccontextmanager
    async def _connection(self, server: MailServer) -> AsyncIterator[SMTP]:
        """A connection to the server, logged in. Raises WireError."""
        import aiosmtplib  # costs start-up time, and few processes send mail

        is_encrypted = server.implicit_tls or server.starttls
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            use_tls=server.implicit_tls,
            start_tls=server.starttls,
            tls_context=self._make_ssl_context() if is_encrypted else None,
            username=server.user,
            password=server.password,
        )
        try:
            await client.connect()
            yield client
        except aiosmtplib.SMTPAuthenticationError as error:
            raise LocalFailure(
                f"The mail server refused the user name and password of SENDOFF_SMTP_URL ({error.code})."
            ) from None
        except (aiosmtplib.SMTPException, OSError) as error:
            raise _wire_error(error) from None
        finally:
            # Without QUIT: the message is the server's since its reply, and waiting for another could only lose that.
            client.close()


async def _hand_over(client: SMTP, sender: str, recipient: str, message: bytes) -> tuple[int, str]:
    """The code and the text of the reply that the message was answered with."""
    import aiosmtplib

    try:
        _, text = await client.sendmail(sender, [recipient], message)
    except aiosmtplib.SMTPRecipientsRefused as error:
        return error.recipients[0].code, error.recipients[0].message
    except aiosmtplib.SMTPResponseException as error:
        return error.code, error.message
    return 250, text


def _wire_error(error: Exception) -> WireError:
    import aiosmtplib

    cause = error.__cause__ or error
    if isinstance(cause, ssl.SSLError):
        return TlsFailed(f"No trusted encryption could be agreed on with the mail server: {cause}.")
    if isinstance(error, aiosmtplib.SMTPServerDisconnected):
        return ConnectionLost("The mail server ended the connection before it had taken the message.", answered=False)
    if isinstance(error, aiosmtplib.SMTPConnectError | OSError):
        return ConnectFailed("No connection to the mail server could be opened; check SENDOFF_SMTP_URL.")
    return ConnectFailed(f"The mail server cannot be used: {error}")
