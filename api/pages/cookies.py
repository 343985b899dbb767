"""The session's cookie, and the one that keeps the colour scheme."""

from __future__ import annotations

from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

from sendoff.accounts.page_sessions import SessionKind
from sendoff.server_urls.database import is_loopback

SCHEMES = ("auto", "light", "dark")
SCHEME_COOKIE = "sendoff-scheme"
_YEAR_SECONDS = 365 * 86_400


def session_token(request: Request, kind: SessionKind) -> str | None:
    """The value of the session's cookie."""
    return request.cookies.get(_name(request, kind))


def set_session(
    request: Request, response: Response, kind: SessionKind, token: str, *, seconds: int, framed: bool = False
) -> None:
    """Give the browser the session. `framed`: other sites may show the pages in frames, where the cookie is needed."""
    response.set_cookie(
        _name(request, kind),
        token,
        max_age=seconds,
        path="/",
        httponly=True,
        secure=is_secure(request),
        samesite=_same_site(request, framed=framed),
    )
    _partition(request, response, framed=framed)


def forget_session(request: Request, response: Response, kind: SessionKind, *, framed: bool = False) -> None:
    response.delete_cookie(
        _name(request, kind),
        path="/",
        httponly=True,
        secure=is_secure(request),
        samesite=_same_site(request, framed=framed),
    )
    _partition(request, response, framed=framed)


def chosen_scheme(request: Request) -> str | None:
    """The colour scheme that the reader has chosen: `auto`, `light` or `dark`; None for no choice."""
    chosen = request.cookies.get(SCHEME_COOKIE)
    return chosen if chosen in SCHEMES else None


def set_scheme(request: Request, response: Response, scheme: str, *, framed: bool = False) -> None:
    response.set_cookie(
        SCHEME_COOKIE,
        scheme,
        max_age=_YEAR_SECONDS,
        path="/",
        secure=is_secure(request),
        samesite=_same_site(request, framed=framed),
    )
    _partition(request, response, framed=framed)


def is_secure(request: Request) -> bool:
    """Whether cookies are for https alone: always, except on plain http to this machine itself."""
    return request.url.scheme == "https" or not is_loopback(request.url.hostname or "")


def _partition(request: Request, response: Response, *, framed: bool) -> None:
    """Keep the cookie that was set last for each site that frames the pages apart: browsers block it otherwise."""
    if framed and is_secure(request):
        name, value = response.raw_headers[-1]
        response.raw_headers[-1] = (name, value + b"; Partitioned")


def _same_site(request: Request, *, framed: bool) -> Literal["none", "lax"]:
    return "none" if framed and is_secure(request) else "lax"


def _name(request: Request, kind: SessionKind) -> str:
    # A browser takes a `__Host-` cookie only from this very host, over https: no neighbouring host can plant one.
    return f"__Host-sendoff-{kind}" if is_secure(request) else f"sendoff-{kind}"
