"""TLS as we want it: verified, modern, HTTP/1.1, and resumed, since a full handshake costs more than all the rest."""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from pathlib import Path

# A certificate is looked at again after this long, however often its session is resumed.
_LONGEST_TRUST_SECONDS = 600.0
_MOST_SESSIONS = 1_000


class ResumingContext(ssl.SSLContext):
    """A client's context that offers each host name the last session it had with it.

    Only whoever was verified as that host name holds the other half of the session, so resuming it is as good as
    verifying the certificate again.
    """

    def __init__(self, protocol: int) -> None:
        self._sessions: OrderedDict[str, tuple[ssl.SSLSession, float]] = OrderedDict()

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 - the signature of the standard library
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        kept = self._sessions.get(str(server_hostname))
        if kept is not None and kept[1] > asyncio.get_running_loop().time():
            session = kept[0]
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)

    def remember(self, ssl_object: ssl.SSLObject) -> None:
        """Keep the session of a connection on which a response has come: TLS 1.3 sends its tickets that late."""
        if ssl_object.session is None:
            return
        host = str(ssl_object.server_hostname)
        kept = self._sessions.pop(host, None)
        until = asyncio.get_running_loop().time() + _LONGEST_TRUST_SECONDS
        if kept is not None and ssl_object.session_reused:
            until = kept[1]
        self._sessions[host] = (ssl_object.session, until)
        if len(self._sessions) > _MOST_SESSIONS:
            self._sessions.popitem(last=False)

    def forget(self, host: str) -> None:
        """Offer no session to `host` again: the handshake failed, which may have been the session's fault."""
        self._sessions.pop(host, None)


def default_ssl_context(ca_file: Path | None = None) -> ResumingContext:
    """Trusts the system's authorities (SSL_CERT_FILE and SSL_CERT_DIR are honoured) and those in `ca_file`."""
    context = ResumingContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificates and host names by default
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context


def require_verification(context: ssl.SSLContext) -> ssl.SSLContext:
    """The same context; raises ValueError if it would talk to anybody."""
    if context.verify_mode is not ssl.CERT_REQUIRED or not context.check_hostname:
        raise ValueError("the TLS context must verify certificates and host names")
    return context
