"""Errors, classified by what the client can do about them.

Each class's docstring is its default message, so that documentation, log and code cannot disagree. Surfaces
translate these classes to their own status codes and error shapes; operations raise nothing else on purpose.
"""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from enum import StrEnum


class SendoffError(Exception):
    """Something went wrong."""

    def __init__(self, message: str | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip().split("\n", 1)[0]
        super().__init__(self.message)


class Invalid(SendoffError):
    """The request violates a constraint."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class UnknownEventType(Invalid):
    """The event type is not registered."""


class InvalidPhoneNumber(Invalid):
    """The phone number is not valid E.164, such as +14155550123."""


class UnsafeUrl(Invalid):
    """The URL is not safe to send to."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message, field="url")
        self.reason = reason


class PingFailed(SendoffError):
    """The endpoint did not answer the signed ping with a 2xx."""

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None,
        underlying_error: str | None,
        outcome: str = "",
        answer: str = "",
    ) -> None:
        """`outcome` is what an attempt with this result would have; `answer` the body that came back, as text."""
        super().__init__(message)
        self.status_code = status_code
        self.underlying_error = underlying_error
        self.outcome = outcome
        self.answer = answer


class TooFewContacts(SendoffError):
    """Too few valid phone numbers."""

    def __init__(self, *, minimum: int, got: int) -> None:
        super().__init__(f"At least {minimum} valid phone numbers are needed; after validation {got} are left.")
        self.minimum = minimum
        self.got = got


class NotFound(SendoffError):
    """Not found"""


class InsufficientCredits(SendoffError):
    """Insufficient credits"""


class NoSubscription(SendoffError):
    """The organization has no active subscription."""


class TokenProblem(StrEnum):
    """What is wrong with a token, for surfaces whose contract distinguishes them."""

    MISSING = "missing"
    INVALID = "invalid"
    """Malformed, unknown or revoked."""
    EXPIRED = "expired"


class Unauthenticated(SendoffError):
    """A valid API key is needed: send it as `Authorization: Bearer <key>`."""

    def __init__(self, message: str | None = None, *, problem: TokenProblem = TokenProblem.INVALID) -> None:
        super().__init__(message)
        self.problem = problem


class MissingScope(SendoffError):
    """The API key lacks the scope that this call needs."""


class Suspended(SendoffError):
    """The organization is suspended; ask the operator of this installation for the reason."""


class Forbidden(SendoffError):
    """The token is genuine, but it may not be used here."""


class Gone(SendoffError):
    """It is gone for good."""


class Unprocessable(SendoffError):
    """The request is well formed, but cannot be carried out."""


class TooLarge(SendoffError):
    """The request is larger than the limit."""


class UnsupportedMediaType(SendoffError):
    """The content type is not supported here."""


class Conflict(SendoffError):
    """The request conflicts with the current state."""


class IdempotencyKeyReused(Conflict):
    """This Idempotency-Key was used before with another request; use a new key for a new request."""


class IdempotencyInProgress(Conflict):
    """The first request with this Idempotency-Key still runs; try again in a moment."""


class RateLimited(SendoffError):
    """Too many requests."""

    def __init__(self, *, limit: int, observed: int, retry_after_seconds: int, message: str | None = None) -> None:
        super().__init__(message or f"More than {limit} requests in this minute; try again in {retry_after_seconds} s.")
        self.limit = limit
        self.observed = observed
        self.retry_after_seconds = retry_after_seconds


class Unavailable(SendoffError):
    """A dependency cannot be reached at the moment; it is safe to try again."""

    was_asked = True
    """False if it was not asked for anything, so that what failed was certainly not done."""

    def __init__(self, message: str | None = None, *, detail: str | None = None) -> None:
        """`detail`: what the dependency said, for the log and the command line; clients do not see it."""
        super().__init__(message)
        self.detail = detail

    def __str__(self) -> str:
        return self.message if self.detail is None else f"{self.message.rstrip('.')}: {self.detail}"


class Moved(Unavailable):
    """The organization is moving to another cell."""

    def __init__(self, cell: str) -> None:
        self.cell = cell
        super().__init__(f"The organization is moving, or has moved, to the cell {cell}; try again in a moment.")


class BadSettings(SendoffError):
    """The settings are not usable."""


class WrongSchema(SendoffError):
    """The database's schema is not the one that this version needs; run `sendoff migrate`."""


def unknown_name(name: str, known: Collection[str], *, path: str = "", kind: str = "field") -> Invalid:
    """The error for a field or parameter that is not among the `known` ones; it names the nearest of them."""
    field = f"{path}.{name[:100]}" if path else name[:100]
    return Invalid(f"`{field}` is not a known {kind}; {_remedy(name, known, kind)}.", field=field)


def _remedy(name: str, known: Collection[str], kind: str) -> str:
    if not known:
        return f"this call takes no {kind}s, leave it out"
    nearest = get_close_matches(name[:100].lower(), known, n=1)
    return f"the nearest one is `{nearest[0]}`" if nearest else f"known are {', '.join(sorted(known))}"
