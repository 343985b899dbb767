"""Every change of an endpoint's state: made here, and reported by a log line and a counter once it is committed."""

from __future__ import annotations

from enum import StrEnum
from urllib.parse import urlsplit

import structlog

from sendoff.observability.metrics import ENDPOINT_STATE_CHANGES
from sendoff.policy.states import EndpointState, Trigger
from sendoff.store.engine.database import after_commit_of
from sendoff.store.queries import endpoints
from sendoff.store.tables import Endpoint

_log = structlog.get_logger(__name__)


class StateChangeReason(StrEnum):
    """Why an endpoint's state changed, as log lines and metrics name it."""

    OWNER = "owner"
    """Its owner switched it on or off, or deleted it."""
    OPERATOR = "operator"
    """An operator enabled or disabled it."""
    FAILURES = "too_many_failures"
    GONE = "answered_410"


def move_endpoint(endpoint: Endpoint, trigger: Trigger, reason: StateChangeReason) -> None:
    """Change the state of an endpoint that a transaction holds. Raises ValueError where the trigger has no arrow."""
    before = EndpointState(endpoint.state)
    endpoints.move(endpoint, trigger)
    fields: dict[str, str | int] = {
        "endpoint": endpoint.id,
        "organization": endpoint.organization_id,
        "url_host": urlsplit(endpoint.url).netloc.rpartition("@")[2],
        "before": str(before),
        "state": str(endpoint.state),
        "reason": str(reason),
        "consecutive_failures": endpoint.consecutive_failures,
    }
    after_commit_of(endpoint, lambda: _report(fields))


def _report(fields: dict[str, str | int]) -> None:
    ENDPOINT_STATE_CHANGES.labels(fields["state"], fields["reason"]).inc()
    if fields["reason"] in (StateChangeReason.FAILURES, StateChangeReason.GONE):
        # 0.1 had a line for these alone.
        _log.warning("endpoint_state_changed", **fields, event_was="endpoint_disabled")
    else:
        _log.info("endpoint_state_changed", **fields)
