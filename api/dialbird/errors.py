"""Dialbird's error envelope and its table of codes (Dialbird contract, "Errors").

The table is closed: clients switch on its codes. Where HTTP itself knows a status that the table has no code for, the
status stays what it is, and the code is the nearest one: 405 is `not_found`, 408, 413 and 415 are `validation_error`,
503 is `internal_error`.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from sendoff import errors
from sendoff.errors import SendoffError, TokenProblem

from ..http.error_response import ErrorResponse

CODES: dict[type[SendoffError], str] = {
    errors.InvalidPhoneNumber: "invalid_phone_number",
    errors.UnknownEventType: "invalid_event_type",
    errors.Invalid: "validation_error",
    errors.MissingScope: "insufficient_scope",
    errors.Forbidden: "forbidden",
    errors.Suspended: "business_suspended",
    errors.NotFound: "not_found",
    errors.IdempotencyKeyReused: "idempotency_key_reused",
    errors.IdempotencyInProgress: "idempotency_in_progress",
    errors.Conflict: "conflict",
    errors.Gone: "gone",
    errors.Unprocessable: "unprocessable_entity",
    errors.RateLimited: "rate_limited",
}
"""The code of each error; a subclass has its parent's."""

TOKEN_MESSAGES = {
    TokenProblem.MISSING: "No token was sent; send it as `Authorization: Bearer <token>`.",
    TokenProblem.INVALID: "The token is malformed or unknown, or it was revoked.",
    TokenProblem.EXPIRED: "The token is past its expiry; get a new one.",
}

_BY_STATUS = {401: "invalid_token", 403: "forbidden", 404: "not_found", 405: "not_found", 409: "conflict"}


class DialbirdProblem(BaseModel):
    """What went wrong."""

    code: str = Field(description="What programs go by.")
    message: str = Field(description="What people read.")
    field: str | None = Field(default=None, description="The input that a validation error is about, if it is one.")
    request_id: str = Field(description="The `X-Request-Id` of the answer.")


class DialbirdError(BaseModel):
    """Every error of the surface."""

    error: DialbirdProblem


def error_envelope(problem: ErrorResponse, request_id: str) -> Any:
    """`{"error": {code, message, field?, request_id}}`; `field` only where one input is to blame."""
    error = problem.error
    body = {"code": code_of(problem), "message": _message(problem)}
    if isinstance(error, errors.Invalid) and error.field is not None:
        body["field"] = error.field
    return {"error": body | {"request_id": request_id}}


def code_of(problem: ErrorResponse) -> str:
    """The table's code for a problem."""
    error = problem.error
    if isinstance(error, errors.Unauthenticated):
        return f"{error.problem}_token"
    for kind in type(error).__mro__:
        if kind in CODES:
            return CODES[kind]
    return _BY_STATUS.get(problem.status, "internal_error" if problem.status >= 500 else "validation_error")


def _message(problem: ErrorResponse) -> str:
    error = problem.error
    if isinstance(error, errors.Unauthenticated) and error.message == errors.Unauthenticated().message:
        return TOKEN_MESSAGES[error.problem]
    return problem.message
