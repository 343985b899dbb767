"""Log-in with an operator's key or a link that works once, and log-out."""

from __future__ import annotations

from starlette.responses import Response

from sendoff.accounts.page_sessions import OPERATOR_SECONDS, Session, SessionKind, log_in, log_out, open_link
from sendoff.errors import MissingScope, SendoffError, Suspended, Unauthenticated

from ...http.limits import count_request
from ...http.server.client_address import network_of
from ..cookies import SCHEMES, forget_session, is_secure, set_scheme, set_session
from ..page import PageRequest
from ..protection import is_page_below, page_headers
from .surface import BASE, DASHBOARD

TRIES_PER_MINUTE = 10
"""How often one address may try to log in within a minute; 429 beyond it. More speeds up the guessing of keys."""


async def show_login(page: PageRequest) -> Response:
    if page.found is not None:
        return page.redirect(_next(page.query.get("next")))
    return _login_page(page)


async def submit_login(page: PageRequest) -> Response:
    window = await count_request(page.context, f"login:{network_of(page.request.scope)}", limit=TRIES_PER_MINUTE)
    window.check(page.context)
    form = await page.form()
    try:
        session = await log_in(page.context, form.get("key", ""), request_id=page.request.state.request_id)
    except Unauthenticated:
        return _login_page(page, "This is not a valid API key. Copy it whole, from `od_live_` on.", status=401)
    except (MissingScope, Suspended) as error:
        return _login_page(page, error.message, status=403)
    return await _enter(page, session, _next(form.get("next")))


async def enter(page: PageRequest) -> Response:
    """Follow a link of `sendoff dashboard`."""
    if page.looks_ahead:
        return Response(status_code=204, headers=page_headers(referrer="no-referrer"))
    token = page.query.get("token", "")
    try:
        session = await open_link(page.context, token, SessionKind.OPERATOR, request_id=page.request.state.request_id)
    except SendoffError as error:
        message = f"{error.message} Or log in with an operator's key."
        return _login_page(page, message, status=403, referrer="no-referrer")  # its address has the token
    return await _enter(page, session, BASE)


async def submit_logout(page: PageRequest) -> Response:
    await log_out(page.context, page.session)
    response = page.redirect(f"{BASE}/login")
    forget_session(page.request, response, SessionKind.OPERATOR)
    return response


async def submit_scheme(page: PageRequest) -> Response:
    form = await page.form()
    response = page.redirect(_next(form.get("next")))
    if form.get("scheme") in SCHEMES:
        set_scheme(page.request, response, form["scheme"])
    return response


async def _enter(page: PageRequest, session: Session, where: str) -> Response:
    """Into the new session; the one that the browser had before ends."""
    if page.found is not None:
        await log_out(page.context, page.found)
    response = page.redirect(where)
    set_session(page.request, response, SessionKind.OPERATOR, session.token, seconds=OPERATOR_SECONDS)
    return response


def _login_page(
    page: PageRequest, error: str | None = None, *, status: int = 200, referrer: str = "same-origin"
) -> Response:
    # With `no-referrer`, browsers say `Origin: null`, and those that know no Sec-Fetch-Site could not log in.
    unprotected = is_secure(page.request) and page.request.url.scheme != "https"
    return page.render(
        "dashboard/login.html",
        status=status,
        referrer=referrer,
        error=error,
        unprotected=unprotected,
        next=_next(page.query.get("next")),
    )


def _next(path: str | None) -> str:
    """Where to go after the log-in: a page of the dashboard, never another site."""
    return path if path is not None and is_page_below(BASE, path) else BASE


ROUTES = (
    DASHBOARD.get(f"{BASE}/login", show_login, needs=None),
    DASHBOARD.post(f"{BASE}/login", submit_login, needs=None),
    DASHBOARD.get(f"{BASE}/enter", enter, needs=None),
    DASHBOARD.post(f"{BASE}/logout", submit_logout, needs="view"),
    DASHBOARD.post(f"{BASE}/scheme", submit_scheme, needs=None),
)
