"""TLS as we want it: verified, modern and HTTP/1.1.

Sessions are not resumed. Before Python 3.12.8 each look at a connection's session loses several kilobytes for ever
(python/cpython#116810), a receiver chooses how many, and a whole handshake was measured to take no more of our time.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from sendoff.wire.errors import TlsFailed


def default_ssl_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Trusts the system's authorities (SSL_CERT_FILE and SSL_CERT_DIR are honoured) and those in `ca_file`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificates and host names by default
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context


def require_verification(context: ssl.SSLContext) -> ssl.SSLContext:
    """The same context; raises ValueError if it would talk to anybody."""
    if context.verify_mode is not ssl.CERT_REQUIRED or not context.check_hostname:
        raise ValueError("the TLS context must verify certificates and host names")
    return context


def handshake_failure(error: ssl.SSLError) -> TlsFailed:
    """What OpenSSL's error means to people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsFailed(f"The receiver's certificate is not valid: {error.verify_message.rstrip('.')}.")
    return TlsFailed(f"The TLS handshake failed: {error.reason or 'no reason given'}.")
