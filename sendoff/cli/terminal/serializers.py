"""Things as programs see them: JSON fields, named as in the HTTP API."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import orjson

from sendoff.cli.terminal.cursors import encode_cursor
from sendoff.clock import iso
from sendoff.endpoints.catalogue import OperatorsEventType
from sendoff.endpoints.fields import AlertEndpointFields, OperatorsView
from sendoff.endpoints.listening import Answer, Shown, Window
from sendoff.endpoints.manage import RegisteredEndpoint
from sendoff.endpoints.trial import Trial
from sendoff.operators.events import EventReport, ListedEvents
from sendoff.operators.explain import EventExplanation
from sendoff.operators.installation.overview import COUNTED_AT_MOST, Overview
from sendoff.operators.installation.restored import RestoreReport
from sendoff.operators.installation.statistics import EndpointSums
from sendoff.operators.queries import DeadLetterReport, DeliveryReport, EndpointReport
from sendoff.operators.replays.replay import ReplayReport
from sendoff.operators.search import SearchReport
from sendoff.policy.redaction import redact_url
from sendoff.policy.states import DeliveryState
from sendoff.publishing.history import ListedDelivery
from sendoff.store.queries.accounts import ListedKey
from sendoff.store.queries.traffic.delivery_history import ListedAttempt
from sendoff.store.tables import (
    AuditEntry,
    DeadLetter,
    Endpoint,
    EventType,
    LastExchange,
    Organization,
    RejectedMessage,
    Worker,
)

_EVENT = "id type organization_id occurred_at created_at request_id"


def serialize_organization(organization: Organization) -> dict[str, Any]:
    return _pick(organization, "id external_id name credits suspended_at created_at")


def serialize_key(listed: ListedKey) -> dict[str, Any]:
    fields = _pick(listed.key, "id organization_id prefix scopes created_at expires_at revoked_at")
    return fields | {"user": listed.email}


def serialize_event_type(event_type: EventType) -> dict[str, Any]:
    return OperatorsEventType.of(event_type).model_dump(mode="json", by_alias=True)


def serialize_restore_report(report: RestoreReport) -> dict[str, Any]:
    return {
        "clean": report.is_clean,
        "restored_to": iso(report.restored_to),
        "publish_again_since": iso(report.publish_again_since),
        "log": {
            "from": report.log_from and iso(report.log_from),
            "to": report.log_to and iso(report.log_to),
            "lines": report.counts["lines"],
            "attempts_succeeded": report.counts["attempts_succeeded"],
            "attempts_failed": report.counts["attempts_failed"],
        },
        "counts": {name: report.counts[name] for name in ("unknown_events", "repeated_deliveries", "undone_actions")},
        "unreadable_secrets": report.unreadable_secrets,
        "unknown_events": [
            _pick(event, "event_id type organization_id request_id")
            | {
                "first_at": iso(event.first_at),
                "delivered_to": sorted(event.delivered_to),
                "attempted_at": sorted(event.attempted_at),
            }
            for event in report.unknown_events
        ],
        "repeated_deliveries": [
            _pick(one, "delivery_id event_id endpoint_id organization_id delivered_at") for one in report.repeated
        ],
        "undone_actions": [_pick(one, "at action target organization_id actor remedy") for one in report.undone],
    }


def serialize_rejected_message_in_list(message: RejectedMessage) -> dict[str, Any]:
    return _pick(message, "id source message_id reason size rejected_at")


def serialize_rejected_message(message: RejectedMessage) -> dict[str, Any]:
    """A rejected message. Bytes of its body that are not UTF-8 are replaced."""
    more = {"headers": message.headers, "body": message.body.decode(errors="replace")}
    return serialize_rejected_message_in_list(message) | more


def serialize_endpoint(endpoint: Endpoint) -> dict[str, Any]:
    """An endpoint, never with its secret."""
    return OperatorsView.of(endpoint).model_dump(mode="json", by_alias=True)


def serialize_alert_endpoint(endpoint: Endpoint) -> dict[str, Any]:
    """An alert endpoint, never with its secret."""
    return AlertEndpointFields.of(endpoint).model_dump(mode="json", by_alias=True)


def serialize_registered_alert(registered: RegisteredEndpoint) -> dict[str, Any]:
    """An alert endpoint with its secret, which is shown this once."""
    shown = serialize_alert_endpoint(registered.endpoint) | {"secret": registered.shared_secret}
    return shown if registered.public_key is None else shown | {"public_key": registered.public_key}


def serialize_trial(trial: Trial) -> dict[str, Any]:
    """A test call, as `POST /api/v1/webhooks/{id}/test` answers it."""
    request, response = trial.request, trial.response
    return {
        "matched": trial.matched,
        "because": trial.because,
        "request": request
        and {
            "url": redact_url(request.url),
            "headers": dict(request.shown_headers),
            "body": request.body.decode(),
        },
        "response": response
        and _serialize_answer(response.status, response.headers, response.body, truncated=response.truncated),
        "error": trial.error,
    }


def serialize_delivery(listed: ListedDelivery) -> dict[str, Any]:
    """A delivery; `next_attempt_at` is null unless it waits for it."""
    delivery = listed.delivery
    fields = _pick(
        delivery,
        "id event_id endpoint_id organization_id state attempt_count next_attempt_at replay_id created_at "
        "last_attempt_at last_response_status last_error delivered_at",
    )
    return fields | {
        "event_type": listed.event_type,
        "request_id": listed.request_id,
        "waits_for": listed.waits_for,
        "endpoint_url": listed.endpoint_url,
    }


def serialize_delivery_report(report: DeliveryReport) -> dict[str, Any]:
    """A delivery with its attempts and what went over the wire at the last that failed."""
    event = report.event
    listed = ListedDelivery(report.delivery, event.type, event.request_id, report.waits_for, report.endpoint_url)
    return serialize_delivery(listed) | _serialize_exchange(report)


def serialize_explanation(explained: EventExplanation) -> dict[str, Any]:
    """An event with the verdict for each endpoint, as `GET /operator/v1/events/{id}/explain` answers it."""
    event = explained.event
    return {
        "event": _pick(event, "id type organization_id occurred_at created_at request_id"),
        "endpoints": [
            {
                "endpoint_id": one.endpoint_id,
                "url": one.url,
                "verdict": str(one.verdict),
                "delivery": one.delivery
                and serialize_delivery(
                    ListedDelivery(one.delivery, event.type, event.request_id, one.waits_for, one.url)
                ),
                "because": one.because,
            }
            for one in explained.endpoints
        ],
    }


def serialize_dead_letter(letter: DeadLetter) -> dict[str, Any]:
    return _pick(
        letter,
        "id delivery_id event_id event_type endpoint_id endpoint_url organization_id reason last_response_status "
        "last_error attempt_count died_at state replayed_at",
    )


def serialize_dead_letter_report(report: DeadLetterReport) -> dict[str, Any]:
    """A dead letter with the last request, the response and every attempt."""
    return serialize_dead_letter(report.letter) | _serialize_exchange(report.delivery)


def serialize_replay(report: ReplayReport) -> dict[str, Any]:
    replay, progress = report.replay, report.progress
    return {
        **_pick(replay, "id state total"),
        "replayed": progress.replayed,
        "succeeded": progress.succeeded,
        "failed": progress.failed,
        **_pick(replay, "rate filter requested_by created_at finished_at"),
    }


def serialize_audit_entry(entry: AuditEntry) -> dict[str, Any]:
    return _pick(entry, "id at actor organization_id action target_type target_id before after request_id")


def _serialize_exchange(report: DeliveryReport) -> dict[str, Any]:
    last = report.last_exchange
    return {
        "request": {
            "url": last.url if last else report.endpoint_url,
            "headers": _join(last.request_headers) if last else None,
            "body": report.request_body.decode(),
        },
        "response": _serialize_response(last) if last and last.response_status is not None else None,
        "attempts": [
            _pick(one, "number started_at duration_ms outcome response_status error") for one in report.attempts
        ],
    }


def _serialize_response(last: LastExchange) -> dict[str, Any]:
    headers = [(name, value) for name, value in last.response_headers or []]
    return _serialize_answer(
        last.response_status, headers, last.response_body or b"", truncated=last.response_truncated
    )


def _serialize_answer(
    status: int | None, headers: Sequence[Sequence[str]], raw: bytes, *, truncated: bool
) -> dict[str, Any]:
    try:
        text, encoded = raw.decode(), None
    except UnicodeDecodeError:
        text, encoded = raw.decode(errors="replace"), b64encode(raw).decode()
    return {
        "status": status,
        "headers": _join(headers),
        "body": text,
        "body_base64": encoded,
        "truncated": truncated,
    }


def _join(pairs: Sequence[Sequence[str]]) -> dict[str, str]:
    """Headers by name; what came several times is joined by a comma, as HTTP reads it (RFC 9110, 5.3)."""
    joined: dict[str, str] = {}
    for name, value in pairs:
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def _pick(thing: object, names: str) -> dict[str, Any]:
    values = {name: getattr(thing, name) for name in names.split()}
    return {name: iso(value) if isinstance(value, datetime) else value for name, value in values.items()}


def serialize_listening(answer: Answer, window: Window) -> dict[str, Any]:
    """What `GET /api/v1/listen` answers."""
    return {
        "data": [serialize_shown(one) for one in answer.shown],
        "cursor": answer.cursor.write(),
        "skipped": answer.skipped,
        "secret": window.secret if window.endpoint_id is None else None,
    }


def serialize_shown(shown: Shown) -> dict[str, Any]:
    call = shown.request
    request = call and {"url": redact_url(call.url), "headers": dict(call.headers), "body": call.body.decode()}
    return _pick(shown.event, "id type created_at") | {"request": request, "because": shown.because}


def serialize_worker(worker: Worker) -> dict[str, Any]:
    return _pick(worker, "id host pid version started_at last_seen_at in_flight slots drain_requested_at")


def serialize_overview(overview: Overview) -> dict[str, Any]:
    """The installation at one moment, as `GET /operator/v1/overview` answers it."""
    counts = overview.open
    return {
        "at": iso(overview.at),
        "deliveries": {
            "waiting": sum(counts.deliveries.values()) - counts.deliveries[DeliveryState.IN_FLIGHT],
            "by_state": {str(state): count for state, count in counts.deliveries.items()},
            "due": counts.due,
            "oldest_due_at": iso(counts.oldest_due_at) if counts.oldest_due_at else None,
            "oldest_due_seconds": overview.oldest_due_seconds,
        },
        "dead_letters": {
            "open": sum(counts.dead_letters.values()),
            "by_reason": {str(reason): count for reason, count in counts.dead_letters.items()},
        },
        "endpoints": {str(state): count for state, count in counts.endpoints.items()},
        "most_failing": [_serialize_ranked(one) for one in overview.most_failing],
        "busiest": [_serialize_ranked(one) for one in overview.busiest],
        "slowest": [_serialize_ranked(one) for one in overview.slowest],
        "workers": [serialize_worker(one) for one in overview.workers],
        "counted_at_most": COUNTED_AT_MOST,
    }


def _serialize_ranked(ranked: EndpointSums) -> dict[str, Any]:
    return _pick(ranked, "endpoint_id organization_id url state") | asdict(ranked.sums)


def serialize_listed_events(listed: ListedEvents, limit: int) -> dict[str, Any]:
    """A page of events, of which there may be one more than `limit`; `scanned` as the API has it."""
    page = listed.events[:limit]
    last = listed.last_id or (page[-1].id if len(listed.events) > limit else None)
    back_to = listed.scanned_back_to
    return {
        "data": [
            _pick(event, _EVENT) | {"tags": list(listed.tags.get(event.id, [])), "deliveries": event.delivery_count}
            for event in page
        ],
        "next_cursor": encode_cursor(last) if last else None,
        "scanned": listed.scanned,
        "scanned_back_to": iso(back_to) if back_to else None,
    }


def serialize_event_report(report: EventReport) -> dict[str, Any]:
    """An event with its data and deliveries, as `GET /operator/v1/events/{id}` answers it."""
    fields = "id endpoint_id state attempt_count next_attempt_at last_response_status last_error delivered_at"
    return {
        **_pick(report.event, _EVENT),
        "tags": list(report.tags),
        "data": orjson.loads(report.event.data),
        "deliveries": [
            _pick(delivery, fields) | {"endpoint_url": report.urls.get(delivery.endpoint_id)}
            for delivery in report.deliveries
        ],
    }


def serialize_search(report: SearchReport) -> dict[str, Any]:
    """What a text means, as `GET /operator/v1/search` answers it."""
    found = [_pick(one, "id organization_id title") | {"type": str(one.type)} for one in report.results]
    return {"kind": str(report.kind), "data": found, "scanned": report.scanned}


def serialize_endpoint_report(report: EndpointReport) -> dict[str, Any]:
    """An endpoint with what waits for it and the sums of its last hour."""
    waiting = {str(state): count for state, count in report.waiting.items()}
    return serialize_endpoint(report.endpoint) | {"waiting": waiting, "last_hour": asdict(report.last_hour)}


def serialize_listed_attempt(listed: ListedAttempt) -> dict[str, Any]:
    """An attempt with its delivery, as `GET /operator/v1/attempts` lists it."""
    attempt = _pick(listed.attempt, "number started_at duration_ms outcome response_status error delivery_id")
    return attempt | _pick(listed, "event_id event_type endpoint_id endpoint_url organization_id")
