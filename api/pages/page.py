"""A page's request and its route: the session first, then its capability, then the page; errors are pages, too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from sendoff.accounts.page_sessions import Session, SessionKind, claim_form, find_session
from sendoff.audit import Actor
from sendoff.context import Context
from sendoff.errors import Invalid, MissingScope, NotFound, SendoffError
from sendoff.settings import Settings

from ..http.authentication import context_of
from ..http.errors import Internal, describe
from .cookies import chosen_scheme, session_token
from .protection import FORM_TOKEN, check_form_token, new_form_token, page_headers, refuse_other_sites
from .rendering import render

MOST_FIELDS = 500
"""Fields of a form."""

_log = structlog.get_logger(__name__)


class NoSession(SendoffError):
    """Log in first; your session has ended, or there was none."""


@dataclass(frozen=True)
class Surface:
    """A family of pages that share a session, a layout and a switch in the settings."""

    kind: SessionKind
    entrance: str
    """The path that clients without a session are sent to."""
    layout: str
    """The template that the pages of errors extend."""
    mode: Callable[[Settings], str]
    """`on`, `off` or `readonly`."""
    frame_ancestors: Callable[[Settings], Sequence[str]] = lambda _: ()
    form_targets: Callable[[PageRequest], Sequence[str]] = lambda _: ()
    """Origins that the answers to its forms may redirect to, besides its own."""
    values: Callable[[PageRequest], Mapping[str, Any]] = lambda _: {}
    """What its layout needs besides the page."""
    scheme: Callable[[PageRequest], str] = lambda _: "auto"
    """The colour scheme for readers who have not chosen one."""

    def get(self, path: str, handler: Handler, *, needs: str | None = "view") -> Route:
        """A page to look at, for sessions with the capability `needs`; None needs no session."""
        return Route(path, _endpoint(self, handler, needs), methods=["GET"], include_in_schema=False)

    def post(self, path: str, handler: Handler, *, needs: str | None = "act") -> Route:
        """A form's target. It redirects after the work, so that reloading does not repeat it."""
        return Route(path, _endpoint(self, handler, needs), methods=["POST"], include_in_schema=False)

    async def show_error(self, request: Request, error: SendoffError) -> Response:
        """The error as one of these pages; readers who are logged in get their navigation around it."""

        async def refuse(_: PageRequest) -> Response:
            raise error

        return await _endpoint(self, refuse, None)(request)


@dataclass
class PageRequest:
    """A request to a page."""

    request: Request
    surface: Surface
    context: Context
    found: Session | None

    @property
    def session(self) -> Session:
        if self.found is None:
            raise NoSession
        return self.found

    @property
    def actor(self) -> Actor:
        """Who acts, as the audit log names it."""
        return Actor(self.session.actor, self.request.state.request_id)

    @property
    def path(self) -> str:
        return self.request.url.path

    @property
    def is_partial(self) -> bool:
        """Whether a script asks for a part of a page that it shows already."""
        return self.request.headers.get("hx-request") == "true"

    @property
    def looks_ahead(self) -> bool:
        """Whether a client only looks ahead, so that a link which works once is not used up: HEAD, or a prefetch."""
        purpose = self.request.headers.get("sec-purpose", "") + self.request.headers.get("purpose", "")
        return "prefetch" in purpose or self.request.state.is_head

    @cached_property
    def query(self) -> dict[str, str]:
        """The query's parameters; those left empty, as forms send them, count as left out."""
        return {name: value for name, value in self.request.query_params.items() if value.strip()}

    @property
    def filters(self) -> dict[str, str]:
        """The query without what is not a filter of a list."""
        return {name: value for name, value in self.query.items() if name not in ("notice", "tail")}

    def parameter(self, name: str) -> str:
        """A parameter of the path."""
        return str(self.request.path_params[name])

    async def form(self) -> dict[str, str]:
        """The form's fields, the last of each name. Raises Invalid for what is not a form."""
        return dict(await self.form_pairs())

    async def form_pairs(self) -> list[tuple[str, str]]:
        """The form's fields in their order, where a name may come several times."""
        declared = self.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if declared != "application/x-www-form-urlencoded":
            raise Invalid("Send the form as `application/x-www-form-urlencoded`, as browsers do.")
        body = await self.request.body()
        try:
            return parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS)
        except ValueError:
            raise Invalid(f"The form cannot be read; it may have at most {MOST_FIELDS} fields in UTF-8.") from None

    def may(self, capability: str) -> bool:
        """Whether the session has the capability; `act` needs more than a dashboard that is `readonly`."""
        if self.found is None or capability not in self.found.capabilities:
            return False
        return capability == "view" or self.surface.mode(self.context.settings) != "readonly"

    def url(self, **changes: str | None) -> str:
        """This page with other parameters in its query; None removes one."""
        changed = {**self.query, **changes}
        query = urlencode({name: value for name, value in changed.items() if value is not None})
        return f"{self.path}?{query}" if query else self.path

    def form_token(self) -> str:
        return new_form_token(self.session)

    def render(self, template: str, /, *, status: int = 200, referrer: str = "same-origin", **values: Any) -> Response:
        """The page that a template makes."""
        settings = self.context.settings
        html = render(
            template,
            page=self,
            now=self.context.clock.now(),
            scheme=chosen_scheme(self.request) or self.surface.scheme(self),
            **self.surface.values(self),
            **values,
        )
        ancestors = self.surface.frame_ancestors(settings)
        targets = self.surface.form_targets(self)
        headers = page_headers(frame_ancestors=ancestors, form_targets=targets, referrer=referrer)
        return Response(html, status, headers, "text/html; charset=utf-8")

    def redirect(self, path: str, *, notice: str | None = None) -> Response:
        """To another page after a form; `notice` names the sentence that it shows."""
        if notice is not None:
            path += f"{'&' if '?' in path else '?'}notice={quote(notice)}"
        if self.is_partial:
            return Response(status_code=204, headers={"HX-Redirect": path, **page_headers()})
        return RedirectResponse(path, 303, page_headers())

    def download(self, content: bytes | str, media_type: str, filename: str) -> Response:
        """A file that the browser saves and never shows as a page of ours."""
        headers = {**page_headers(), "Content-Disposition": f'attachment; filename="{filename}"'}
        return Response(content, 200, headers, media_type)


Handler = Callable[[PageRequest], Awaitable[Response]]


def _endpoint(surface: Surface, handler: Handler, needs: str | None) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        context = context_of(request)
        page = PageRequest(request, surface, context, None)
        try:
            _refuse_if_off(page)
            if request.method == "POST":
                refuse_other_sites(request)
            token = session_token(request, surface.kind)
            page.found = await find_session(context, token, surface.kind) if token else None
            if page.found is not None:
                request.state.is_authenticated = True
            if needs is not None:
                refused = await _admit(page, needs)
                if refused is not None:
                    return refused
            return await handler(page)
        except NoSession as error:
            return _to_entrance(page, error)
        except SendoffError as error:
            return _error_page(page, error)
        except Exception as error:
            _log.exception("request_failed", method=request.method, path=request.url.path)
            return _error_page(page, error)

    return answer


def _refuse_if_off(page: PageRequest) -> None:
    if page.surface.mode(page.context.settings) == "off":
        raise NotFound("These pages are switched off on this installation.")


async def _admit(page: PageRequest, needs: str) -> Response | None:
    """Raise unless the session may do this; an answer for a form that was sent before."""
    if needs not in page.session.capabilities:
        raise MissingScope(f"Your session lacks the right to `{needs}`; log in with a key or a link that has it.")
    if not page.may(needs):
        raise MissingScope("These pages are read-only on this installation; use the command line or the API to act.")
    if page.request.method == "POST":
        nonce = check_form_token(page.session, (await page.form()).get(FORM_TOKEN, ""))
        if not await claim_form(page.context, nonce):
            return page.render(
                "error.html",
                status=409,
                title="Sent already",
                layout=page.surface.layout,
                message="This form was sent already, and counts once. Open the page again to repeat it.",
            )
    return None


def _to_entrance(page: PageRequest, error: NoSession) -> Response:
    request = page.request
    where = page.surface.entrance
    if request.method == "GET" and not page.is_partial:
        back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"{where}?next={quote(back, safe='')}", 303, page_headers())
    if page.is_partial:
        return Response(status_code=401, headers={"HX-Redirect": where, **page_headers()})
    return page.render("error.html", status=401, title="Log in first", layout="base.html", message=error.message)


def _error_page(page: PageRequest, error: Exception) -> Response:
    problem = page.request.state.refusal = describe(error)
    shown = problem.error if isinstance(error, SendoffError) and problem.status != 500 else Internal()
    layout = page.surface.layout if page.found is not None else "base.html"
    response = page.render(
        "error.html",
        status=problem.status,
        title=_TITLES.get(problem.status, "That did not work"),
        layout=layout,
        message=shown.message,
    )
    response.headers.update({name: value for name, value in problem.headers.items() if name != "WWW-Authenticate"})
    return response


_TITLES = {403: "Not allowed", 404: "Not found", 409: "Not possible now", 429: "Too many requests", 503: "Try again"}
