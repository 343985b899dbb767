"""A mail server on loopback: with or without STARTTLS, TLS from the first byte, and a user; keeps what it takes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

USER, PASSWORD = "sendoff", "correct horse"


@dataclass
class MailServer:
    """What arrived, and what it answers to the next messages."""

    port: int = 0
    taken: list[Envelope] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)
    """Answers to the next recipients or, from "data: …" on, to the next messages; without any, 250."""

    async def handle_RCPT(  # noqa: N802 - the name that aiosmtpd calls
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if self.replies and not self.replies[0].startswith("data: "):
            return self.replies.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.replies:
            return self.replies.pop(0).removeprefix("data: ")
        self.taken.append(envelope)
        return "250 queued as 42"

    def text(self, index: int = -1) -> str:
        """A message as it arrived."""
        content = self.taken[index].content
        return content.decode() if isinstance(content, bytes) else str(content)


@asynccontextmanager
async def mail_server(
    *, starttls: ssl.SSLContext | None = None, tls: ssl.SSLContext | None = None, with_user: bool = False
) -> AsyncIterator[MailServer]:
    """A running server, stopped at the end of the block."""
    server = MailServer()

    def authenticate(_server: Any, _session: Any, _envelope: Any, _mechanism: str, given: Any) -> AuthResult:
        return AuthResult(success=(given.login, given.password) == (USER.encode(), PASSWORD.encode()), handled=False)

    def protocol() -> SMTP:
        return SMTP(
            server,
            hostname="mail.test",
            tls_context=starttls,
            require_starttls=starttls is not None,
            authenticator=authenticate if with_user else None,
            auth_required=with_user,
            auth_require_tls=tls is None,
        )

    listening = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
