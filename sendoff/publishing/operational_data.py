"""The `data` of operational events: what an operator needs to act on one, without secrets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sendoff.clock import iso
from sendoff.context import Context
from sendoff.policy.operational_events import OperationalEventType
from sendoff.policy.redaction import redact_text, redact_url
from sendoff.store.engine.database import Transaction
from sendoff.store.queries import accounts, endpoints
from sendoff.store.queries.traffic import dead_letters, delivery_history, replays
from sendoff.store.queries.traffic.replays import ReplayProgress
from sendoff.store.tables import DeadLetter, Delivery, Endpoint, OperationalEvent, Replay

_SAY_THE_ERROR = (OperationalEventType.ENDPOINT_FAILING, OperationalEventType.ENDPOINT_DISABLED)
_MOMENTS = ("first_failure_at", "last_success_at", "last_failure_at", "disabled_at")


@dataclass(frozen=True, slots=True)
class Subjects:
    """The rows that some operational events tell of, by id."""

    organizations: Mapping[str, str] = field(default_factory=dict)
    """Their names."""
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    dead_letters: Mapping[str, DeadLetter] = field(default_factory=dict)
    replays: Mapping[str, Replay] = field(default_factory=dict)
    progress: Mapping[str, ReplayProgress] = field(default_factory=dict)
    failures: Mapping[str, Delivery] = field(default_factory=dict)
    """By the endpoint's id."""


async def describe(tx: Transaction, context: Context, found: Sequence[OperationalEvent]) -> list[dict[str, Any]]:
    """The data of each of the events, in their order."""
    subjects = await _read(tx, found)
    return [describe_event(event, subjects, context.settings.public_url or "") for event in found]


async def _read(tx: Transaction, found: Sequence[OperationalEvent]) -> Subjects:
    of_endpoints = {event.endpoint_id for event in found if event.endpoint_id is not None}
    subject_ids = [event.subject_id for event in found if event.subject_id is not None]
    failed = {event.endpoint_id for event in found if event.type in _SAY_THE_ERROR and event.endpoint_id is not None}
    failures = {endpoint_id: await delivery_history.last_failure_of(tx, endpoint_id) for endpoint_id in failed}
    of_replays = await replays.find_many(tx, subject_ids)
    return Subjects(
        organizations=await accounts.names_of(tx, {event.organization_id for event in found if event.organization_id}),
        endpoints=await endpoints.find_many(tx, of_endpoints),
        dead_letters=await dead_letters.find_many(tx, subject_ids),
        replays=of_replays,
        progress=await replays.progress(tx, list(of_replays)) if of_replays else {},
        failures={endpoint_id: delivery for endpoint_id, delivery in failures.items() if delivery is not None},
    )


def describe_event(event: OperationalEvent, subjects: Subjects, base: str) -> dict[str, Any]:
    """The data of one event; `base` is where the dashboard is served. Pure."""
    data: dict[str, Any] = {"organization_id": event.organization_id}
    if event.organization_id is not None:
        data["organization_name"] = subjects.organizations.get(event.organization_id)
    letter = subjects.dead_letters.get(event.subject_id or "")
    replay = subjects.replays.get(event.subject_id or "")
    endpoint = subjects.endpoints.get(event.endpoint_id or "")
    if letter is not None:
        data |= _of_dead_letter(letter, endpoint)
        command, page = f"sendoff dead-letters show {letter.id}", f"deliveries/{letter.delivery_id}"
    elif replay is not None:
        data |= _of_replay(replay, subjects.progress[replay.id])
        command, page = f"sendoff replays show {replay.id}", f"replays/{replay.id}"
    elif endpoint is not None:
        data |= _of_endpoint(endpoint, subjects.failures.get(endpoint.id))
        command, page = f"sendoff endpoints show {endpoint.id}", f"endpoints/{endpoint.id}"
    else:
        command, page = "sendoff dead-letters list --state open", "failures"
    facts = event.facts or {}
    if since := facts.get("unhealthy_since"):
        facts = facts | {"unhealthy_since": iso(datetime.fromisoformat(since))}
    return data | facts | {"command": command, "dashboard": f"{base}/dashboard/{page}"}


def _of_endpoint(endpoint: Endpoint, failure: Delivery | None) -> dict[str, Any]:
    last: dict[str, Any] = {}
    if failure is not None:
        last["last_error"] = redact_text(failure.last_error or "")
        last["last_response_status"] = failure.last_response_status
        last["last_failed_delivery_id"] = failure.id
    return {
        "endpoint_id": endpoint.id,
        "endpoint_url": redact_url(endpoint.url),
        "state": endpoint.state,
        "description": endpoint.description,
        "events": endpoint.events,
        "consecutive_failures": endpoint.consecutive_failures,
        **{name: None if (at := getattr(endpoint, name)) is None else iso(at) for name in _MOMENTS},
        **last,
    }


def _of_dead_letter(letter: DeadLetter, endpoint: Endpoint | None) -> dict[str, Any]:
    return {
        "dead_letter_id": letter.id,
        "delivery_id": letter.delivery_id,
        "event_id": letter.event_id,
        "event_type": letter.event_type,
        "endpoint_id": letter.endpoint_id,
        "endpoint_url": redact_url(letter.endpoint_url),
        "endpoint_state": endpoint and endpoint.state,
        "reason": letter.reason,
        "attempt_count": letter.attempt_count,
        "last_error": None if letter.last_error is None else redact_text(letter.last_error),
        "last_response_status": letter.last_response_status,
        "died_at": iso(letter.died_at),
    }


def _of_replay(replay: Replay, progress: ReplayProgress) -> dict[str, Any]:
    return {
        "replay_id": replay.id,
        "state": replay.state,
        "total": replay.total,
        "replayed": progress.replayed,
        "succeeded": progress.succeeded,
        "failed": progress.failed,
        "requested_by": replay.requested_by,
        "created_at": iso(replay.created_at),
        "finished_at": None if replay.finished_at is None else iso(replay.finished_at),
    }
