"""Operational events in words: what happened, to whom, since when, and what to do. E-mail and Slack are made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from sendoff.dialects.base import EventData
from sendoff.policy.states import DeadLetterReason

FOR_PEOPLE = ("email", "slack")
"""The dialects whose messages people read: several events in a short time make one message."""

_LONGEST_VALUE = 500
"""Characters of one value in a message; the dashboard shows the rest."""

Data = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Alert:
    """An operational event for a person."""

    title: str
    """What happened, to whom, in one line."""
    facts: Sequence[tuple[str, str]] = ()
    """Names and values."""
    remedy: str = ""
    """What to do, in sentences."""
    commands: Sequence[str] = field(default_factory=tuple)
    page: str = ""
    """Of the dashboard."""


def compose(event: EventData) -> Alert:
    """The event in words. One of an unknown type is shown as it is."""
    parsed = orjson.loads(event.data)
    data: Data = parsed if isinstance(parsed, dict) else {"data": parsed}
    if "count" in data and event.type in _SEVERAL:
        return _of_several(event, data)
    say = _WORDS.get(event.type)
    return _of_unknown(event, data) if say is None else say(data)


def _failing(data: Data) -> Alert:
    count = data.get("consecutive_failures")
    return Alert(
        f"Endpoint {_endpoint(data)} is failing: {count} attempts in a row",
        _facts(data, "first_failure_at", "last_success_at", "last_response_status", "last_error"),
        "Nothing is lost yet: its deliveries are retried. If it goes on, the endpoint is disabled and what waits for "
        "it becomes dead letters. Look at the last error; if the receiver is at fault, tell its owner.",
        _commands(data),
        _page(data),
    )


def _disabled(data: Data) -> Alert:
    because = {
        "answered_410": "its receiver answered 410 Gone",
        "operator": f"{data.get('actor')} did it",
        "too_many_failures": f"{data.get('consecutive_failures')} attempts failed in a row",
    }.get(str(data.get("reason")), "")
    remedy = "Nothing is sent to it any more; what waits for it becomes dead letters, which are kept. "
    endpoint_id = data.get("endpoint_id")
    again = [f"sendoff endpoints enable {endpoint_id}", f"sendoff replay --endpoint {endpoint_id}"]
    if data.get("reason") == "answered_410":
        remedy, again = remedy + "This is for good: its owner has to register the URL again.", []
    elif data.get("reason") == "operator":
        remedy += "Only an operator can switch it on again; then replay its dead letters."
    else:
        remedy += "When the receiver works again, its owner or you can switch it on; then replay its dead letters."
    return Alert(
        f"Endpoint {_endpoint(data)} is disabled: {because}",
        _facts(data, "first_failure_at", "last_success_at", "disabled_at", "last_response_status", "last_error"),
        remedy,
        [*_commands(data), *again],
        _page(data),
    )


def _recovered(data: Data) -> Alert:
    return Alert(
        f"Endpoint {_endpoint(data)} works again",
        _facts(data, "unhealthy_since", "last_success_at"),
        "Deliveries that waited are on their way. Those that became dead letters meanwhile are not sent by themselves; "
        "replay them.",
        [f"sendoff replay --endpoint {data.get('endpoint_id')}"],
        _page(data),
    )


def _dead_lettered(data: Data) -> Alert:
    reason = str(data.get("reason"))
    # A transform may have written another reason.
    remedy = DeadLetterReason(reason).remedy if reason in list(DeadLetterReason) else ""
    return Alert(
        f"A delivery to {_endpoint(data)} was given up: {reason.replace('_', ' ')}",
        _facts(data, "event_type", "event_id", "attempt_count", "last_response_status", "last_error", "died_at"),
        f"It is kept as a dead letter until it is replayed or discarded. {remedy}".rstrip(),
        [*_commands(data), f"sendoff replay --delivery {data.get('delivery_id')}"],
        _page(data),
    )


def _replay_finished(data: Data) -> Alert:
    failed = data.get("failed")
    return Alert(
        f"A replay of {data.get('total')} deliveries is {data.get('state')}: {data.get('succeeded')} delivered, "
        f"{failed} failed",
        _facts(data, "requested_by", "created_at", "finished_at"),
        "What failed again is among the dead letters." if failed else "",
        _commands(data),
        _page(data),
    )


def _exceeded(data: Data) -> Alert:
    at_least = "at least " if data.get("is_at_least") else ""
    return Alert(
        f"{at_least}{data.get('count')} deliveries died within an hour, more than {data.get('threshold')}".capitalize(),
        _named(data),
        "One endpoint with most of them is its owner's affair; many endpoints at once point to this installation: its "
        "network, its DNS, its certificates.",
        _commands(data),
        _page(data),
    )


def _changed(what: str, *names: str) -> Callable[[Data], Alert]:
    def say(data: Data) -> Alert:
        return Alert(f"Endpoint {_endpoint(data)} {what}", _facts(data, "actor", *names), "", (), _page(data))

    return say


def _ping(_data: Data) -> Alert:
    return Alert(
        "Alerts of Sendoff will come here",
        (),
        "This message checks that they arrive. Nothing has happened.",
        ["sendoff alert-endpoints list"],
    )


_WORDS: Mapping[str, Callable[[Data], Alert]] = {
    "endpoint.created": _changed("was registered", "events", "description"),
    "endpoint.updated": _changed("was changed", "before", "after"),
    "endpoint.deleted": _changed("was deleted"),
    "endpoint.failing": _failing,
    "endpoint.disabled": _disabled,
    "endpoint.recovered": _recovered,
    "delivery.dead_lettered": _dead_lettered,
    "replay.finished": _replay_finished,
    "secret.rotated": _changed("has a new signing secret", "previous_signs_until"),
    "dead_letters.threshold_exceeded": _exceeded,
    "webhook.ping": _ping,
}

_SEVERAL = {
    "endpoint.created": ("endpoint was registered", "endpoints were registered"),
    "endpoint.updated": ("endpoint was changed", "changes of endpoints were made"),
    "endpoint.deleted": ("endpoint was deleted", "endpoints were deleted"),
    "endpoint.failing": ("endpoint is failing", "endpoints are failing"),
    "endpoint.disabled": ("endpoint was disabled", "endpoints were disabled"),
    "endpoint.recovered": ("endpoint works again", "endpoints work again"),
    "delivery.dead_lettered": ("delivery was given up", "deliveries were given up"),
    "replay.finished": ("replay has ended", "replays have ended"),
    "secret.rotated": ("signing secret was rotated", "signing secrets were rotated"),
}
"""What one more, or several more, of a type are called."""


def _of_several(event: EventData, data: Data) -> Alert:
    one, several = _SEVERAL[event.type]
    return Alert(
        f"{data.get('count')} more {one if data.get('count') == 1 else several}",
        [*_facts(data, "first_at", "last_at"), *_named(data)],
        "They came soon after one that was sent to you, and are sent together.",
        ["sendoff dead-letters list --state open" if event.type.startswith("delivery") else "sendoff endpoints list"],
        str(data.get("dashboard") or ""),
    )


def _of_unknown(event: EventData, data: Data) -> Alert:
    return Alert(event.type, [(name.replace("_", " ").capitalize(), _text(value)) for name, value in data.items()])


def _endpoint(data: Data) -> str:
    return f"{data.get('endpoint_url')} of {_owner(data)}"


def _owner(data: Data) -> str:
    return str(data.get("organization_name") or data.get("organization_id"))


def _facts(data: Data, *names: str) -> list[tuple[str, str]]:
    common = ("organization_name", "organization_id", "endpoint_url", "endpoint_id")
    return [
        (name.replace("_", " ").capitalize(), _text(data[name]))
        for name in (*common, *names)
        if data.get(name) not in (None, "", {}, [])
    ]


def _named(data: Data) -> list[tuple[str, str]]:
    """Endpoints with the number of events of each. A transform may have made something else of them."""
    endpoints = data.get("endpoints")
    named = endpoints if isinstance(endpoints, list) else []
    return [
        (str(one.get("endpoint_url")), f"{one.get('count')}, of {_owner(one)}, endpoint {one.get('endpoint_id')}")
        for one in named
        if isinstance(one, dict)
    ]


def _commands(data: Data) -> list[str]:
    return [str(data["command"])] if "command" in data else []


def _page(data: Data) -> str:
    return str(data.get("dashboard") or "")


def _text(value: object) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "…"
