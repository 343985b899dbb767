"""OAuth access tokens: JWTs of a configured issuer, for this audience, signed with one of its published keys."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from sendoff.accounts.jwks import Key, KeySet
from sendoff.errors import TokenProblem, Unauthenticated
from sendoff.settings import Settings

EARLY_SECONDS = 60.0
"""How far the issuer's clock may run ahead of the local one."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """The claims of a genuine token. Business and subject come from the issuer and may be unknown here."""

    business: str
    subject: str | None
    client_id: str
    scopes: frozenset[str]


async def read_access_token(settings: Settings, keys: KeySet, token: str, *, now: float) -> AccessToken:
    """The token's claims, once its signature, issuer, audience and times are right; `now` is Unix seconds.

    Raises Unauthenticated, whose `problem` distinguishes expired tokens, and Unavailable without keys.
    """
    claims = await _verified_claims(settings, keys, token)
    _check_times(claims, now)
    business = claims.get(settings.oauth_business_claim)
    subject = claims.get("sub")
    client = claims.get("client_id") or claims.get("azp") or subject
    if not isinstance(business, str) or not isinstance(client, str):
        raise Unauthenticated("The token names no business or no client.")
    return AccessToken(business, subject if isinstance(subject, str) else None, client, read_scopes(claims))


def read_scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """What `scope` (RFC 9068: words in one string) or `scp` (a list, or such a string) grants."""
    given = claims.get("scope", claims.get("scp", ""))
    words = given.split() if isinstance(given, str) else given
    return frozenset(word for word in words if isinstance(word, str)) if isinstance(words, list) else frozenset()


async def _verified_claims(settings: Settings, keys: KeySet, token: str) -> dict[str, Any]:
    try:
        header = jwt.get_unverified_header(token)
    except jwt.InvalidTokenError:
        raise Unauthenticated from None
    algorithm, key_id = header.get("alg"), header.get("kid")
    if algorithm not in settings.oauth_algorithms:
        raise Unauthenticated
    for key in await keys.candidates(key_id if isinstance(key_id, str) else None):
        claims = _claims(settings, token, key, algorithm)
        if claims is not None:
            return claims
    raise Unauthenticated


def _claims(settings: Settings, token: str, key: Key, algorithm: str) -> dict[str, Any] | None:
    try:
        public_key = jwt.PyJWK(key, algorithm=None if "alg" in key else algorithm)
        return jwt.decode(
            token,
            public_key,
            algorithms=settings.oauth_algorithms,
            audience=settings.oauth_audience,
            issuer=settings.oauth_issuer,
            # The library would ask the machine's clock; ours has a word in it.
            options={
                "require": ["exp", "iss", "aud"],
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
    except (jwt.PyJWTError, ValueError, TypeError):
        return None


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    expires_at, not_before = claims["exp"], claims.get("nbf", 0)
    if not all(isinstance(moment, int | float) and math.isfinite(moment) for moment in (expires_at, not_before)):
        raise Unauthenticated
    if not_before > now + EARLY_SECONDS:
        raise Unauthenticated
    if expires_at <= now:
        raise Unauthenticated(problem=TokenProblem.EXPIRED)
