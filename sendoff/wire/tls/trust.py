"""TLS settings: verified certificates, TLS 1.2 or newer, HTTP/1.1.

Sessions are not resumed, although that would save two thirds of a handshake's 0.6 ms of CPU time. Before Python 3.12.8,
each read of a connection's session leaks several kilobytes (python/cpython#116810). Idle connections are kept instead.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from sendoff.wire.errors import TlsFailed

# By OpenSSL's verification codes (X509_V_ERR_…).
_CERTIFICATE_REASONS = {
    9: "is not valid yet; correct its dates or the receiver's clock",
    10: "has expired; renew it",
    18: "is self-signed; install one that a public authority signed",
    19: "has a self-signed certificate in its chain, from an unknown authority; install one of a public authority",
    20: "comes from an unknown authority, or its chain is incomplete; install it together with its intermediates",
    21: "cannot be verified because its chain is incomplete; install it together with its intermediates",
    62: "is for another host name (mismatch); install one that names the host of the URL",
    64: "is for another address (mismatch); install one that names the IP address of the URL",
}

_HTTP_2_ONLY = "The receiver does not accept HTTP/1.1 (TLS alert 120); enable HTTP/1.1 in addition to HTTP/2."
_OLD_PROTOCOL = "The receiver has no TLS version in common with this client; enable TLS 1.2 or 1.3."
_REFUSED = "The receiver refused the TLS handshake (alert 40); check its TLS versions, ciphers and host names."

# By OpenSSL's names; older and newer releases have other prefixes.
_HANDSHAKE_REASONS = {
    "NO_APPLICATION_PROTOCOL": _HTTP_2_ONLY,
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": _HTTP_2_ONLY,
    "SSLV3_ALERT_NO_APPLICATION_PROTOCOL": _HTTP_2_ONLY,
    "UNSUPPORTED_PROTOCOL": _OLD_PROTOCOL,
    "TLSV1_ALERT_PROTOCOL_VERSION": _OLD_PROTOCOL,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": _REFUSED,
    "TLSV1_ALERT_HANDSHAKE_FAILURE": _REFUSED,
    "WRONG_VERSION_NUMBER": "The receiver does not speak TLS on this port; use the port that serves https.",
    "TLSV1_UNRECOGNIZED_NAME": "The receiver does not know the host name (TLS alert 112); add it to its configuration.",
    "TLSV1_ALERT_UNRECOGNIZED_NAME": "The receiver does not know the host name (TLS alert 112); add it there.",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "The receiver demands a client certificate (alert 116); set `auth` to mtls.",
    "TLSV1_ALERT_INTERNAL_ERROR": "The receiver failed during the TLS handshake (alert 80); see its log.",
}


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


def handshake_failure(error: ssl.SSLError) -> TlsFailed:
    """OpenSSL's error in plain words, and what the receiver must change."""
    if isinstance(error, ssl.SSLCertVerificationError):
        message = error.verify_message.rstrip(".")
        reason = _CERTIFICATE_REASONS.get(error.verify_code, f"is not valid: {message}; install a valid one")
        return TlsFailed(f"The receiver's certificate {reason}.")
    name = error.reason or "no reason given"
    return TlsFailed(_HANDSHAKE_REASONS.get(name) or f"The TLS handshake failed: {name.replace('_', ' ').lower()}.")
