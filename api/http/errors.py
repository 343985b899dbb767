"""From what went wrong to the response that the client gets: one table of statuses, one envelope for each surface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import structlog
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from sendoff import errors
from sendoff.errors import SendoffError

from ..dialbird.errors import error_envelope
from ..dialbird.paths import is_on_surface
from .error_response import ErrorEnvelope, ErrorResponse
from .validation import describe_problems

UNAVAILABLE_SECONDS = 5
"""The `Retry-After` of a 503: outages that end by themselves are over, or noticed, by then."""

MOVED_SECONDS = 1
"""The same of an organization that moves: a router finds its new cell at the next request."""

MOVED_HEADER = "Sendoff-Cell"
"""Names the cell that an organization moves to, or has moved to."""

_log = structlog.get_logger(__name__)


class NoSuchRoute(errors.NotFound):
    """There is nothing at this path."""


class MethodNotAllowed(SendoffError):
    """This path does not answer that method; see the `Allow` header for those that it does."""


class UrlTooLong(SendoffError):
    """The URL's query is too long; send less in it."""


class TooManyHeaders(SendoffError):
    """The request has too many headers; send fewer."""


class TooSlow(SendoffError):
    """The body did not arrive in time; send it again, in one go."""


class UnsupportedEncoding(errors.UnsupportedMediaType):
    """Compressed bodies are not supported; send the body without a `Content-Encoding`."""


class Internal(SendoffError):
    """Something went wrong on our side; it was logged under the request's id, and it is safe to try again."""


_STATUSES: dict[type[SendoffError], int] = {
    errors.Invalid: 400,
    errors.PingFailed: 400,
    errors.Unauthenticated: 401,
    errors.InsufficientCredits: 402,
    errors.NoSubscription: 403,
    errors.MissingScope: 403,
    errors.Suspended: 403,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    MethodNotAllowed: 405,
    TooSlow: 408,
    errors.Conflict: 409,
    errors.Gone: 410,
    errors.TooLarge: 413,
    UrlTooLong: 414,
    errors.UnsupportedMediaType: 415,
    errors.TooFewContacts: 422,
    errors.Unprocessable: 422,
    errors.RateLimited: 429,
    TooManyHeaders: 431,
    errors.Unavailable: 503,
}
"""The status of each error on every surface; a subclass has its parent's. What isn't here is our fault: 500."""


def detail_envelope(problem: ErrorResponse, _request_id: str) -> Any:
    """`{"detail": <string or object>}` (OptimalDial contract, "Errors")."""
    match problem.error:
        case errors.RateLimited() as error:
            detail: Any = {
                "error": "rate_limit_exceeded",
                "limit": error.limit,
                "observed": error.observed,
                "retry_after_seconds": error.retry_after_seconds,
            }
        case errors.PingFailed() as error:
            detail = {
                "error": "ping_failed",
                "message": problem.message,
                "status_code": error.status_code,
                "underlying_error": error.underlying_error,
            }
        case errors.TooFewContacts() as error:
            detail = {
                "error": "min_contacts_required",
                "min": error.minimum,
                "got": error.got,
                "message": problem.message,
            }
        case _:
            detail = problem.message
    return {"detail": detail}


_ENVELOPES: tuple[tuple[Callable[[str], bool], ErrorEnvelope], ...] = ((is_on_surface, error_envelope),)
"""Whose paths have another envelope than `detail`."""


def status_of(kind: type[Exception]) -> int:
    """The status that errors of this kind are answered with."""
    return next((_STATUSES[one] for one in kind.__mro__ if one in _STATUSES), 500)


def describe(error: Exception) -> ErrorResponse:
    """The problem to answer an exception with. An unforeseen exception is answered as Internal."""
    if isinstance(error, HTTPException):
        return _describe_framework(error)
    if isinstance(error, RequestValidationError):
        return ErrorResponse(400, errors.Invalid(describe_problems(error.errors(), skip=1)))
    status = status_of(type(error))
    if not isinstance(error, SendoffError) or status == 500:
        return ErrorResponse(500, Internal())
    return ErrorResponse(status, error, _headers(error))


def respond(path: str, request_id: str, problem: ErrorResponse) -> Response:
    """The answer in the envelope of the path's surface."""
    envelope = next((shape for is_theirs, shape in _ENVELOPES if is_theirs(path)), detail_envelope)
    body = orjson.dumps(envelope(problem, request_id))
    return Response(body, problem.status, dict(problem.headers), "application/json")


def answer_problem(scope: Scope, error: SendoffError) -> Response:
    """The answer to a request that middleware refuses."""
    scope["state"]["refusal"] = problem = describe(error)
    return respond(scope["path"], scope["state"]["request_id"], problem)


async def answer_error(request: Request, error: Exception) -> Response:
    """The framework's handler for expected exceptions."""
    problem, path = describe(error), request.url.path
    if problem.status == 404 and request.app.state.methods.is_hidden(path, request.method):
        problem = ErrorResponse(405, MethodNotAllowed())
    if problem.status == 405:
        problem = ErrorResponse(405, problem.error, {"Allow": request.app.state.methods.allowed(path)})
    if problem.status == 500:
        _log.error("request_failed", path=path, exc_info=error)
    request.state.refusal = problem
    return respond(path, request.state.request_id, problem)


def _describe_framework(error: HTTPException) -> ErrorResponse:
    if error.status_code == 404:
        return ErrorResponse(404, NoSuchRoute())
    if error.status_code == 405:
        return ErrorResponse(405, MethodNotAllowed())
    if error.status_code >= 500:
        return ErrorResponse(500, Internal())
    status = 400 if error.status_code == 422 else error.status_code
    return ErrorResponse(status, SendoffError(str(error.detail)), error.headers or {})


def _retry_headers(error: errors.Unavailable) -> dict[str, str]:
    if isinstance(error, errors.Moved):
        return {"Retry-After": str(MOVED_SECONDS), MOVED_HEADER: error.cell}
    return {"Retry-After": str(UNAVAILABLE_SECONDS)}


def _headers(error: SendoffError) -> dict[str, str]:
    match error:
        case errors.Unauthenticated():
            return {"WWW-Authenticate": "Bearer"}
        case errors.RateLimited():
            return {"Retry-After": str(error.retry_after_seconds)}
        case errors.Unavailable():
            return _retry_headers(error)
        case TooSlow():
            return {"Connection": "close"}
        case UnsupportedEncoding():
            return {"Accept-Encoding": "identity"}
        case _:
            return {}
