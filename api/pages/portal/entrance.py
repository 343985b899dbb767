"""The way in by a link that works once, the way out, and what clients without a session see."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit, urlunsplit

from starlette.responses import RedirectResponse, Response

from sendoff.accounts.page_sessions import SessionKind, log_out, open_link
from sendoff.errors import SendoffError

from ...http.errors import status_of
from ...http.limits import count_request
from ...http.server.client_address import network_of
from ..cookies import SCHEMES, forget_session, set_scheme, set_session
from ..page import PageRequest
from ..protection import is_page_below, origin_in_policy, page_headers
from .surface import BASE, PORTAL

TRIES_PER_MINUTE = 600
"""Links that one address may open within a minute; 429 beyond it. It saves the database; tokens cannot be guessed."""


async def enter(page: PageRequest) -> Response:
    """Open a link. What only looks ahead does not use it up: a prefetch, or HEAD."""
    name = f"portal-enter:{network_of(page.request.scope)}"
    (await count_request(page.context, name, limit=TRIES_PER_MINUTE)).check(page.context)
    if page.looks_ahead:
        return Response(status_code=204, headers=page_headers(referrer="no-referrer"))
    token = page.query.get("t", "")
    try:
        session = await open_link(page.context, token, SessionKind.PORTAL, request_id=page.request.state.request_id)
    except SendoffError as error:
        return _refused(page, error.message, status=status_of(type(error)))
    if page.found is not None:
        await log_out(page.context, page.found)
    response = page.redirect(BASE)
    response.headers["Referrer-Policy"] = "no-referrer"
    seconds = int((session.expires_at - page.context.clock.now()).total_seconds())
    framed = bool(page.context.settings.portal_frame_ancestors)
    set_session(page.request, response, SessionKind.PORTAL, session.token, seconds=seconds, framed=framed)
    if "theme" in session.options:
        set_scheme(page.request, response, session.options["theme"], framed=framed)
    return response


async def show_expired(page: PageRequest) -> Response:
    """For clients without a session: to the product's page that makes a new link, if there is one."""
    wanted = page.query.get("next")
    back = wanted if wanted is not None and is_page_below(BASE, wanted) else BASE
    if page.found is not None:
        return page.redirect(back)
    refresh_url = page.context.settings.portal_refresh_url
    if refresh_url is not None:
        parts = urlsplit(refresh_url)
        query = "&".join(filter(None, [parts.query, urlencode({"return": back})]))
        return RedirectResponse(urlunsplit(parts._replace(query=query)), 303, page_headers(referrer="no-referrer"))
    message = "Your session has ended, or there was none. Open this page from your account again."
    return _refused(page, message, status=401)


async def leave(page: PageRequest) -> Response:
    return_url = page.session.options.get("return_url")
    await log_out(page.context, page.session)
    if return_url and origin_in_policy(return_url):
        response: Response = RedirectResponse(return_url, 303, page_headers(referrer="no-referrer"))
    else:  # the page links to a `return_url` that browsers would not let the form redirect to
        response = page.render("portal/message.html", title="Good-bye", message="You have left this page.", kind="good")
    framed = bool(page.context.settings.portal_frame_ancestors)
    forget_session(page.request, response, SessionKind.PORTAL, framed=framed)
    return response


async def choose_scheme(page: PageRequest) -> Response:
    form = await page.form()
    wanted = form.get("next", "")
    response = page.redirect(wanted if is_page_below(BASE, wanted) else BASE)
    if form.get("scheme") in SCHEMES:
        framed = bool(page.context.settings.portal_frame_ancestors)
        set_scheme(page.request, response, form["scheme"], framed=framed)
    return response


def _refused(page: PageRequest, message: str, *, status: int) -> Response:
    return page.render(
        "portal/message.html", status=status, referrer="no-referrer", title="Not open", message=message, kind="error"
    )


ROUTES = (
    PORTAL.get(f"{BASE}/enter", enter, needs=None),
    PORTAL.get(f"{BASE}/expired", show_expired, needs=None),
    PORTAL.post(f"{BASE}/scheme", choose_scheme, needs=None),
    PORTAL.post(f"{BASE}/leave", leave, needs="view"),
)
