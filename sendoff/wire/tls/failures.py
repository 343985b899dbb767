"""Failures of TLS in plain words: what is wrong, and what the receiver must change."""

from __future__ import annotations

import re
import ssl

from sendoff.wire.errors import TlsFailed

# By OpenSSL's verification codes (X509_V_ERR_…).
_CERTIFICATE_REASONS = {
    9: "is not valid yet; correct its dates or the receiver's clock",
    10: "has expired; renew it",
    18: "is self-signed; install one that a public authority signed",
    19: "has a self-signed certificate in its chain, from an unknown authority; install one of a public authority",
    20: "comes from an unknown authority, or its chain is incomplete; install it together with its intermediates",
    21: "cannot be verified because its chain is incomplete; install it together with its intermediates",
    26: "is not for servers; install one whose extended key usage has serverAuth",
    62: "is for another host name (mismatch); install one that names the host of the URL",
    64: "is for another address (mismatch); install one that names the IP address of the URL",
    66: "has a key that is too weak; install one with RSA of 2048 bits or more, or with an elliptic curve",
    67: "comes from an authority whose key is too weak; install one of another authority",
    68: "is signed with a hash that is too weak; install one that is signed with SHA-256",
    79: "comes from a certificate that is not an authority's; install it together with its intermediates",
}

_HTTP_2_ONLY = "The receiver does not accept HTTP/1.1 (TLS alert 120); enable HTTP/1.1 in addition to HTTP/2."
_OLD_PROTOCOL = "The receiver has no TLS version in common with this client; enable TLS 1.2 or 1.3."
_OLD_CIPHERS = "The receiver's TLS ciphers are too weak, or none is in common; enable those of TLS 1.2 or 1.3."
_REFUSED = "The receiver refused the TLS handshake (alert 40); check its TLS versions, ciphers and host names."
_NO_TLS = "The receiver does not speak TLS on this port; use the port that serves https."
_UNKNOWN_HOST = "The receiver does not know the host name (TLS alert 112); add it to its configuration."
_NO_CERTIFICATE = "The receiver demands a client certificate (TLS alert {}); set `auth` to mtls."
_OTHER_CERTIFICATE = (
    "The receiver did not accept the client certificate, or its absence (TLS alert {}: {}); set `auth` to mtls with a "
    "certificate that it accepts."
)
_ODD_MESSAGE = "The receiver could not read the TLS handshake (alert {}: {}); see its log."

# By OpenSSL's names, without the prefixes and the word "alert", in which its releases differ.
_CLIENT_CERTIFICATE_REASONS = {
    "no certificate": _NO_CERTIFICATE.format(41),
    "bad certificate": _OTHER_CERTIFICATE.format(42, "bad certificate"),
    "unsupported certificate": _OTHER_CERTIFICATE.format(43, "unsupported certificate"),
    "certificate revoked": _OTHER_CERTIFICATE.format(44, "revoked"),
    "certificate expired": _OTHER_CERTIFICATE.format(45, "expired"),
    "certificate unknown": _OTHER_CERTIFICATE.format(46, "unknown certificate"),
    "unknown ca": _OTHER_CERTIFICATE.format(48, "unknown authority"),
    "access denied": _OTHER_CERTIFICATE.format(49, "access denied"),
    "certificate required": _NO_CERTIFICATE.format(116),
}
_HANDSHAKE_REASONS = _CLIENT_CERTIFICATE_REASONS | {
    "unexpected message": _ODD_MESSAGE.format(10, "unexpected message"),
    "handshake failure": _REFUSED,
    "illegal parameter": _ODD_MESSAGE.format(47, "illegal parameter"),
    "decode error": _ODD_MESSAGE.format(50, "decoding failed"),
    "decrypt error": _ODD_MESSAGE.format(51, "decryption failed"),
    "protocol version": _OLD_PROTOCOL,
    "unsupported protocol": _OLD_PROTOCOL,
    "insufficient security": _OLD_CIPHERS,
    "dh key too small": _OLD_CIPHERS,
    "internal error": "The receiver failed during the TLS handshake (alert 80); see its log.",
    "unrecognized name": _UNKNOWN_HOST,
    "no application protocol": _HTTP_2_ONLY,
    "wrong version number": _NO_TLS,
    "http request": _NO_TLS,
}

_PREFIX = re.compile(r"^(?:(?:ssl|tls)v\d+ )?(?:alert )?")
_TEXT = re.compile(r"^\[[^\]]*\] (?P<text>.*?)(?: \(_ssl\.c:\d+\))?$")


def handshake_failure(error: ssl.SSLError) -> TlsFailed:
    """OpenSSL's error in plain words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        message = error.verify_message.rstrip(".")
        reason = _CERTIFICATE_REASONS.get(error.verify_code, f"is not valid: {message}; install a valid one")
        return TlsFailed(f"The receiver's certificate {reason}.")
    name = _name(error)
    return TlsFailed(_HANDSHAKE_REASONS.get(name, f"The TLS handshake failed: {name}."))


def broken_connection(error: ssl.SSLError) -> TlsFailed:
    """The same for a connection that was open; under TLS 1.3 a client certificate is refused only then."""
    name = _name(error)
    return TlsFailed(_CLIENT_CERTIFICATE_REASONS.get(name, f"The encrypted connection broke: {name}."))


def _name(error: ssl.SSLError) -> str:
    """What OpenSSL calls the reason. Python has no name for some of its reasons and leaves only the text."""
    text = (error.reason or "").replace("_", " ").lower()
    if not text and len(error.args) > 1:
        found = _TEXT.match(str(error.args[1]))
        text = found["text"] if found else ""
    return _PREFIX.sub("", text) or "no reason was given"
