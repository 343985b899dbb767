"""An endpoint's own headers and authentication: checked by what the installation knows, sealed, and shown masked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from sendoff.authorization.requests import Credentials
from sendoff.context import Context
from sendoff.errors import Invalid, UnsafeUrl
from sendoff.policy.endpoints.addresses import check_url
from sendoff.policy.endpoints.auth import MASK, BadCertificate, MtlsAuth, OAuth2Auth, check_certificate


def check_credentials(context: Context, credentials: Credentials, organization_id: str, *, url: str) -> None:
    """Raise Invalid for what cannot be sent to `url`: headers that dialects send, too, or an expired certificate."""
    names = {name.lower(): name for name, _ in credentials.headers}
    for taken in names.keys() & context.dialects.header_names:
        raise Invalid(
            f"`headers`: The header `{names[taken]}` is one that a dialect signs with or sends; give another name.",
            field="headers",
        )
    auth = credentials.auth
    if "authorization" in names and auth is not None and not isinstance(auth, MtlsAuth):
        raise Invalid("`headers.Authorization` and `auth` exclude each other; leave one out.", field="headers")
    match auth:
        case OAuth2Auth():
            _check_token_url(context, auth, organization_id)
        case MtlsAuth():
            _check_mtls(context, auth, url)


def changed_credentials(before: Credentials, changes: Mapping[str, Any]) -> Credentials:
    """What an endpoint carries after the changes of its owner, who may leave header values masked, as reads show them.

    Raises Invalid for a masked value that stands for none.
    """
    headers, auth = before.headers, before.auth
    if "headers" in changes:
        headers = _unmasked(dict(before.headers), changes["headers"] or {})
    if "auth" in changes:
        auth = changes["auth"]
    return Credentials(headers, auth)


def seal_credentials(context: Context, endpoint_id: str, credentials: Credentials) -> dict[str, Any]:
    """The columns of an endpoint's row for its credentials."""
    headers, auth = dict(credentials.headers), credentials.auth
    return {
        "headers": context.vault.seal(orjson.dumps(headers).decode(), bound_to=endpoint_id) if headers else None,
        "header_names": list(headers) or None,
        "auth": None if auth is None else context.vault.seal(auth.model_dump_json(), bound_to=endpoint_id),
        "auth_type": None if auth is None else auth.type,
    }


def _unmasked(before: Mapping[str, str], given: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    for name, value in given.items():
        if value == MASK and name not in before:
            raise Invalid(
                f"`headers`: The value of `{name}` is `{MASK}`, which stands for the value as it is, and there is "
                "none; give the value.",
                field="headers",
            )
    return tuple((name, before[name] if value == MASK else value) for name, value in given.items())


def _check_token_url(context: Context, auth: OAuth2Auth, organization_id: str) -> None:
    try:
        check_url(auth.token_url, context.addresses_of(organization_id))
    except UnsafeUrl as error:
        raise Invalid(f"`auth.token_url`: {error.message}", field="auth.token_url") from None


def _check_mtls(context: Context, auth: MtlsAuth, url: str) -> None:
    if not url.lower().startswith("https:"):
        raise Invalid("`auth` of type mtls needs an https URL: without TLS there is no certificate.", field="auth")
    try:
        check_certificate(auth, context.clock.machine_now())
    except BadCertificate as error:
        raise Invalid(f"`auth.{error.field}` {error}.", field=f"auth.{error.field}") from None


def masked_headers(names: list[str] | None) -> dict[str, str] | None:
    """What reads show of the headers with these names."""
    return None if names is None else dict.fromkeys(names, MASK)
