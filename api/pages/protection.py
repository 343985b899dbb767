"""What keeps pages from harm: headers of every page, and the refusal of requests that other sites make.

Receivers' answers, events' data and customers' texts are shown on these pages. Templates escape all of it; should one
fail to, the policy lets no script, style or image but ours run, and nothing be sent elsewhere.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

import idna
from starlette.requests import Request

from sendoff.accounts.page_sessions import Session
from sendoff.errors import Forbidden

FORM_TOKEN = "form_token"  # noqa: S105 - the name of a field
_SAME_ORIGIN = ("same-origin", "none")
_POLICY_HOST = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*")
"""What a policy may name as a host; browsers ignore what is written otherwise, such as an IPv6 address."""


def page_headers(
    *, frame_ancestors: Sequence[str] = (), form_targets: Sequence[str] = (), referrer: str = "same-origin"
) -> dict[str, str]:
    """The headers of a page. `frame_ancestors`: origins that may show it in a frame, by default none.

    `form_targets`: origins that the answer to a form may redirect to, besides this one.
    """
    ancestors = " ".join(frame_ancestors) or "'none'"
    targets = " ".join(("'self'", *form_targets))
    return {
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
            f"connect-src 'self'; form-action {targets}; base-uri 'none'; frame-ancestors {ancestors}"
        ),
        **({} if frame_ancestors else {"X-Frame-Options": "DENY"}),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": referrer,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        "Cache-Control": "no-store",
    }


def origin_in_policy(url: str) -> str | None:
    """The origin of a http or https URL as a policy names it; None if a policy cannot name it."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host = host if host.isascii() else idna.encode(host, uts46=True).decode()
    except ValueError:
        return None
    if not _POLICY_HOST.fullmatch(host):
        return None
    return f"{parts.scheme}://{host}" if port is None else f"{parts.scheme}://{host}:{port}"


def refuse_other_sites(request: Request) -> None:
    """Raise Forbidden for a request that a page of another site makes.

    Browsers say where a request comes from in `Sec-Fetch-Site` or, older ones, in `Origin` or `Referer`; pages cannot
    forge them. A client that sends none of them is not a browser, and carries nobody's cookie.
    """
    site = request.headers.get("sec-fetch-site")
    source = request.headers.get("origin", request.headers.get("referer"))
    is_ours = site in _SAME_ORIGIN if site is not None else source is None or _is_here(request, source)
    if not is_ours:
        raise Forbidden("This form was sent by a page of another site; open the page here and send it again.")


def _is_here(request: Request, source: str) -> bool:
    """Whether the address is of this very host and port. What comes to https from plain http may be anybody's."""
    try:
        parts = urlsplit(source)
    except ValueError:
        return False
    schemes = {"https", request.url.scheme}
    return parts.scheme in schemes and parts.netloc == request.headers.get("host", "")


def is_page_below(base: str, path: str) -> bool:
    """Whether a browser that is sent to the path, with its query, stays on pages below `base`, such as `/portal`."""
    steps = unquote(path.partition("?")[0]).split("/")
    stays = steps[:2] == ["", base.removeprefix("/")] and not {"", ".", ".."} & set(steps[2:])
    return stays and path.isprintable() and "\\" not in path and "/".join(steps).isprintable()


def new_form_token(session: Session) -> str:
    """What a form carries: a random part, so that it counts once, and a part that only the session can have made."""
    nonce = secrets.token_urlsafe(12)
    return f"{nonce}.{_sign(session, nonce)}"


def check_form_token(session: Session, token: str) -> str:
    """The random part of the token. Raises Forbidden if it is not one of the session's."""
    nonce, _, signature = token.partition(".")
    if not hmac.compare_digest(signature.encode(), _sign(session, nonce).encode()):
        raise Forbidden("This form belongs to another session; open the page again and send it from there.")
    return nonce


def _sign(session: Session, nonce: str) -> str:
    return hmac.new(session.token.encode(), f"form:{nonce}".encode(), hashlib.sha256).hexdigest()
