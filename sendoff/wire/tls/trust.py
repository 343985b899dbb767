"""TLS settings: verified certificates, TLS 1.2 or newer, HTTP/1.1.

Sessions are not resumed, although that would save two thirds of a handshake's 0.6 ms of CPU time. Before Python 3.12.8,
each read of a connection's session leaks several kilobytes (python/cpython#116810). Idle connections are kept instead.
"""

from __future__ import annotations

import ssl
from pathlib import Path


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
    """The same context; raises ValueError if it does not verify certificates and host names."""
    if context.verify_mode is not ssl.CERT_REQUIRED or not context.check_hostname:
        raise ValueError("the TLS context must verify certificates and host names")
    return context
