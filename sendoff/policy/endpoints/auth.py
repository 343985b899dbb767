"""How requests to an endpoint authenticate: what owners give, and the checks of it that need no other fact."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Annotated, Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

MASK = "***"
"""What reads show in place of a secret value."""

_STRONGEST_RSA_BITS = 8192  # beyond which a signature takes a tenth of a second of each handshake
_WEAKEST_RSA_BITS = 2048
_LONGEST_CHAIN = 10


def _printable(text: str) -> str:
    if not (text.isascii() and text.isprintable() and " " not in text):
        raise ValueError("Must be printable ASCII without spaces")
    return text


def _without_control_characters(text: str) -> str:
    if any(not character.isprintable() for character in text):
        raise ValueError("Must not hold control characters")
    return text


def _without_colon(text: str) -> str:
    if ":" in text:
        raise ValueError("Must not hold a colon, which ends the user name (RFC 7617)")
    return text


_Secret = Annotated[str, Field(min_length=1, max_length=1_000, repr=False), AfterValidator(_without_control_characters)]
_Name = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_without_control_characters)]
_Pem = Annotated[str, Field(min_length=1, repr=False)]


class _Auth(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class BasicAuth(_Auth):
    """HTTP Basic (RFC 7617), in UTF-8."""

    type: Literal["basic"]
    username: Annotated[_Name, AfterValidator(_without_colon)]
    password: _Secret


class BearerAuth(_Auth):
    """`Authorization: Bearer` with a fixed token."""

    type: Literal["bearer"]
    token: Annotated[str, Field(min_length=1, max_length=4_000, repr=False), AfterValidator(_printable)]


class OAuth2Auth(_Auth):
    """A token by client credentials (RFC 6749, 4.4), which is fetched again shortly before it expires."""

    type: Literal["oauth2"]
    token_url: Annotated[str, Field(max_length=2_000)]
    client_id: _Name
    client_secret: _Secret
    scope: _Name | None = Field(None, description="Scopes that are asked for, separated by spaces.")
    audience: _Name | None = Field(None, description="The parameter `audience`, which some servers need.")


class MtlsAuth(_Auth):
    """Mutual TLS: a client certificate with its chain, and its private key without a passphrase, both in PEM."""

    type: Literal["mtls"]
    certificate: Annotated[_Pem, Field(max_length=40_000)]
    private_key: Annotated[_Pem, Field(max_length=7_500)]


Auth = Annotated[BasicAuth | BearerAuth | OAuth2Auth | MtlsAuth, Field(discriminator="type")]
"""How requests to an endpoint authenticate, besides their signature."""

AuthType = Literal["basic", "bearer", "oauth2", "mtls"]

_adapter: TypeAdapter[BasicAuth | BearerAuth | OAuth2Auth | MtlsAuth] = TypeAdapter(Auth)


class BadCertificate(ValueError):
    """A client certificate that cannot be used; `field` is the part of `auth` that is wrong."""

    def __init__(self, message: str, *, field: Literal["certificate", "private_key"]) -> None:
        super().__init__(message)
        self.field = field


@lru_cache(maxsize=1_000)
def parse_auth(document: str) -> BasicAuth | BearerAuth | OAuth2Auth | MtlsAuth:
    """What `model_dump_json` made of one; those used last stay parsed."""
    return _adapter.validate_json(document)


def check_certificate(auth: MtlsAuth, now: datetime) -> None:
    """Raise BadCertificate unless the pair fits, is strong enough and is valid at `now`."""
    certificate = _read_certificate(auth.certificate)
    key = _read_key(auth.private_key)
    if key.public_key() != certificate.public_key():
        raise BadCertificate(
            "does not belong to the certificate; give the key that it was issued for", field="private_key"
        )
    if now >= certificate.not_valid_after_utc:
        raise BadCertificate(
            f"expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC; renew it", field="certificate"
        )
    if now < certificate.not_valid_before_utc:
        raise BadCertificate(
            f"is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC; give it then",
            field="certificate",
        )


def _read_certificate(pem: str) -> x509.Certificate:
    """The first of the chain."""
    try:
        chain = x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        raise BadCertificate(
            "is not a certificate in PEM; give the text from `-----BEGIN CERTIFICATE-----` on", field="certificate"
        ) from None
    if len(chain) > _LONGEST_CHAIN:
        raise BadCertificate(
            f"holds {len(chain)} certificates; leave those out that its chain does not need", field="certificate"
        )
    return chain[0]


def _read_key(
    pem: str,
) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey:
    try:
        # Whether the primes are prime takes seconds to check; a key that is wrong only fails in its owner's handshakes.
        key = load_pem_private_key(pem.encode(), password=None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        raise BadCertificate(
            "has a passphrase; give it without one, it is encrypted here", field="private_key"
        ) from None
    except Exception:
        raise BadCertificate(
            "is not a private key in PEM; give the text from `-----BEGIN` on", field="private_key"
        ) from None
    if isinstance(key, rsa.RSAPrivateKey):
        if not _WEAKEST_RSA_BITS <= key.key_size <= _STRONGEST_RSA_BITS:
            raise BadCertificate(
                f"is RSA of {key.key_size} bits; use {_WEAKEST_RSA_BITS} to {_STRONGEST_RSA_BITS} or an elliptic curve",
                field="private_key",
            )
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey):
        return key
    raise BadCertificate("is of a kind that TLS does not use; use RSA or an elliptic curve", field="private_key")
