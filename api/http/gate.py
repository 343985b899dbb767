"""What a request is refused for before anything of it is worked on: too many with a key, or too many without one.

A request without a valid key costs as much as a customer's. An address has a limit of them, beyond which it gets a 429
at once. Customers behind the same address are served all the same: the keys, or sessions, of all who wait are looked up
together. Requests whose key or session has not been seen to be valid begin one at a time, so a thousand that come at
once make nobody wait for all of them.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import Scope

from sendoff.accounts.authentication import authenticate, bearer_token
from sendoff.accounts.page_sessions import SessionKind, find_session
from sendoff.context import Context
from sendoff.errors import SendoffError, Unauthenticated
from sendoff.rate_windows import LocalCounters, limited_until_the_minute_ends

from ..dialbird.paths import is_on_surface
from ..pages.cookies import session_token
from .limits import RefusedKeys
from .server.client_address import network_of
from .server.disconnect import refuse_if_client_has_left
from .server.pacing import Pacer

_KEYED = ("/api/v1/", "/operator/v1/")
_SESSIONS = {"/dashboard": SessionKind.OPERATOR, "/docs": SessionKind.OPERATOR, "/portal": SessionKind.PORTAL}
_READY = "/ready"

_MOST_SEEN = 10_000
"""Keys and sessions that are known to have been valid, at 100 bytes each; those used last are kept. The requests of
others wait for their turns while very many of such come."""


class KeyGate:
    """For RequestMiddleware: stands before the application and sees how its requests end.

    Where a key, an access token or a session is found to be valid, `is_authenticated` is set in the request's state.
    """

    def __init__(self) -> None:
        self._pacer = Pacer()
        # Hashes of credentials that were valid once. This decides who waits, never what is answered.
        self._seen: dict[int, None] = {}

    async def refuse(self, scope: Scope) -> SendoffError | None:
        """Why the request is refused, if it is. Waits for its turn if its sender is not known.

        Raises ClientDisconnect if the client left meanwhile.
        """
        if _sender_of(scope) not in self._seen:
            await self._pacer.wait(network_of(scope))
            refuse_if_client_has_left(scope)
        app = scope.get("app")
        if app is None:
            return None
        context: Context = app.state.context
        return _refuse_key(context, scope) or await _refuse_stranger(context, scope)

    def note(self, scope: Scope, status: int, *, matched: bool) -> None:
        """Count a request that had no valid key or session. `matched`: whether there is a route for it."""
        is_authenticated = "is_authenticated" in scope["state"]
        if is_authenticated:
            self._note_sender(scope)
        app = scope.get("app")
        if app is None or _has_limits_of_its_own(scope["path"]):
            return
        took_no_key = status < 400 or not scope["path"].startswith(_KEYED)  # such as a signed link to a file
        if status == 401 or (took_no_key and not is_authenticated) or (not matched and status != 429):
            context: Context = app.state.context
            context.service(_Strangers.of).count(network_of(scope), context.clock.now())

    def _note_sender(self, scope: Scope) -> None:
        """Know the sender of an authenticated request, in place of the one that has sent nothing for longest."""
        sender = _sender_of(scope)
        if sender is None:
            return
        self._seen.pop(sender, None)
        if len(self._seen) >= _MOST_SEEN:
            del self._seen[next(iter(self._seen))]
        self._seen[sender] = None


class _Strangers(LocalCounters):
    """Requests without a valid key or session by address, in this process."""


def _refuse_key(context: Context, scope: Scope) -> SendoffError | None:
    refused = context.service(RefusedKeys.of)
    if refused.is_empty:
        return None
    return refused.find(_authorization(scope), scope["method"], scope["path"], context.clock.now())


async def _refuse_stranger(context: Context, scope: Scope) -> SendoffError | None:
    now, limit = context.clock.now(), context.settings.anonymous_rate_limit
    strangers = context.service(_Strangers.of)
    if strangers.most(now) < limit or _has_limits_of_its_own(scope["path"]):
        return None
    made = strangers.current(network_of(scope), now)
    if made < limit or await _may_be_known(context, scope):
        return None
    return limited_until_the_minute_ends(limit, made + 1, now)


async def _may_be_known(context: Context, scope: Scope) -> bool:
    """Whether the request has a valid key or session."""
    try:
        if not scope["path"].startswith(_KEYED):
            return await _has_session(context, scope)
        await authenticate(context, _authorization(scope).decode("latin-1"))
    except Unauthenticated:
        return False
    except SendoffError:
        return True  # the database is away, which the application says better
    return True


async def _has_session(context: Context, scope: Scope) -> bool:
    kind, token = _session_of(scope)
    return kind is not None and token is not None and await find_session(context, token, kind) is not None


def _session_of(scope: Scope) -> tuple[SessionKind | None, str | None]:
    """The kind of sessions that open the path, and the value of the request's cookie for it."""
    kind = next((kind for prefix, kind in _SESSIONS.items() if scope["path"].startswith(prefix)), None)
    return kind, None if kind is None else session_token(Request(scope), kind)


def _has_limits_of_its_own(path: str) -> bool:
    return is_on_surface(path) or path == _READY


def _authorization(scope: Scope) -> bytes:
    return next((value for name, value in scope["headers"] if name == b"authorization"), b"")


def _sender_of(scope: Scope) -> int | None:
    """A hash of what shows who sent the request, the same for every spelling of it: the key, on pages the session."""
    if not scope["path"].startswith(_KEYED):
        token = _session_of(scope)[1]
        return None if token is None else hash(token)
    try:
        token = bearer_token(_authorization(scope).decode("latin-1"))
    except Unauthenticated:
        return None
    return hash(token.rpartition(".")[0] or token)  # an access token without its signature, which has many spellings
