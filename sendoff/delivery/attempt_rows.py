"""The rows that an attempt comes to."""

from __future__ import annotations

from sendoff.delivery.pipeline import FinishedAttempt
from sendoff.store.queries.attempts import Exchange, NewAttempt


def attempt_row(attempt: FinishedAttempt) -> NewAttempt:
    """The attempt itself."""
    return NewAttempt(
        delivery_id=attempt.claim.delivery.id,
        number=attempt.claim.attempt_number,
        started_at=attempt.started_at,
        duration_ms=attempt.duration_ms,
        outcome=attempt.outcome.name,
        response_status=attempt.status,
        error=attempt.error,
    )


def exchange_row(attempt: FinishedAttempt) -> Exchange:
    """What went over the wire."""
    response = attempt.response
    return Exchange(
        delivery_id=attempt.claim.delivery.id,
        attempt=attempt.claim.attempt_number,
        url=attempt.claim.endpoint.url,
        request_headers=list(attempt.request.headers) if attempt.request else [],
        response_status=response.status if response else None,
        response_headers=list(response.headers) if response else None,
        response_body=response.body if response else None,
        response_truncated=response.truncated if response else False,
    )
