"""After a restore: what happened that the database does not know, told by the log.

A restored database is consistent, and knows nothing of what was done after the moment that it was restored to. The log
does, if it was kept: a line for each attempt (`SENDOFF_LOG_ATTEMPTS=all`) and one for each change that is audited.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import orjson

from sendoff.context import Context
from sendoff.errors import Invalid
from sendoff.ids import is_event_id, is_uuid
from sendoff.maintenance.key_rotation import count_key_use
from sendoff.store.queries.installation import restored as queries

MARGIN = timedelta(minutes=1)
"""By how much earlier than the database's last moment the gap is taken to begin: what was under way then, and clocks
that differ. More asks publishers for more that is known already, which does no harm while their keys are remembered."""

_NEAR = timedelta(seconds=5)  # between an audit entry and its line in the log
_AT_ONCE = 500

_REMEDIES = {
    "key.revoke": "The key is valid again: revoke it with `sendoff keys revoke {target}`.",
    "organization.suspend": "The organization is not suspended any more: `sendoff orgs suspend {target}`.",
    "member.remove": "The member is back: remove them again.",
    "endpoint.rotate_secret": "It signs with the old secret again, which may have leaked: have its owner rotate it.",
    "endpoint.disable": "It gets deliveries again: disable it with `sendoff endpoints disable {target}`.",
    "endpoint.delete": "It is back and gets deliveries again: have its owner delete it.",
    "endpoint.update": "It has its former URL, events, secrets and headers again: have its owner look at it.",
    "endpoint.create": "It does not exist any more: have its owner register it again, which makes a new secret.",
    "key.create": "The key is unknown and gets 401: create another one for its holder.",
    "secrets.rotate_keys": "Secrets are encrypted with the former keys again: give every process these as well, then "
    "run `sendoff secrets rotate-keys`.",
}
_OTHERWISE = "It is undone: do it again if it still holds."
_URGENT = ("key.revoke", "organization.suspend", "member.remove", "endpoint.rotate_secret")


@dataclass(slots=True)
class UnknownEvent:
    """An event that receivers were sent, and the database does not know."""

    event_id: str
    type: str
    organization_id: str
    request_id: str | None
    """Of the request that published it: what its publisher may find it by."""
    first_at: datetime
    delivered_to: set[str] = field(default_factory=set)
    """The endpoints that acknowledged it."""
    attempted_at: set[str] = field(default_factory=set)
    """The endpoints that did not."""


@dataclass(frozen=True, slots=True)
class RepeatedDelivery:
    """A delivery that was acknowledged, and that the database will send again, under the same ids."""

    delivery_id: str
    event_id: str
    endpoint_id: str
    organization_id: str
    delivered_at: datetime


@dataclass(frozen=True, slots=True)
class UndoneAction:
    """A change that somebody made, and that the restore took back."""

    at: datetime
    action: str
    target: str
    organization_id: str | None
    actor: str
    remedy: str


@dataclass(slots=True)
class RestoreReport:
    """What the restore lost. Lists keep the first of each kind; `counts` has all."""

    restored_to: datetime
    """The last moment that the database knows."""
    publish_again_since: datetime
    counts: Counter[str] = field(default_factory=Counter)
    log_from: datetime | None = None
    log_to: datetime | None = None
    unknown_events: list[UnknownEvent] = field(default_factory=list)
    repeated: list[RepeatedDelivery] = field(default_factory=list)
    undone: list[UndoneAction] = field(default_factory=list)
    unreadable_secrets: int = 0
    """Secrets that no key of SENDOFF_SECRET_KEYS opens."""

    @property
    def log_has_successes(self) -> bool:
        """Whether the log says what was acknowledged, without which it says little."""
        return bool(self.counts["attempts_succeeded"])

    @property
    def is_clean(self) -> bool:
        """Whether there is nothing that somebody has to do, as far as is known."""
        return not (self.unknown_events or self.repeated or self.undone or self.unreadable_secrets)


async def audit_restore(
    context: Context, log: Iterable[str], *, restored_to: datetime | None = None, at_most: int = 1_000
) -> RestoreReport:
    """Compare the database with the lines of the log since it was restored to `restored_to`, its last moment if None.

    Reads only. Raises Invalid when the database is empty, or for a log that is not JSON.
    """
    async with context.database.read() as tx:
        moment = restored_to or await queries.find_newest_moment(tx)
    if moment is None:
        raise Invalid("The database holds no event, attempt or change; say with --restored-to when it is of.")
    report = RestoreReport(moment, moment - MARGIN)
    lines = _relevant(log, report)
    events: dict[str, UnknownEvent] = {}
    actions: list[Mapping[str, Any]] = []
    while some := list(islice(lines, _AT_ONCE)):
        attempts = [line for line in some if line["event"] != "action_audited"]
        actions += [line for line in some if line["event"] == "action_audited"]
        await _compare_attempts(context, report, attempts, events, at_most=at_most)
    await _compare_actions(context, report, actions)
    report.unknown_events = list(islice(events.values(), at_most))
    report.counts["unknown_events"] = len(events)
    report.unreadable_secrets = sum(use.secrets for use in await count_key_use(context) if not use.known)
    return report


def _relevant(log: Iterable[str], report: RestoreReport) -> Iterator[dict[str, Any]]:
    """The lines about attempts and changes since the restored moment, each with its time as `at`."""
    for text in log:
        line = _parse(text, report)
        if line is None:
            continue
        at = _time(line)
        if at is None:
            continue
        report.log_from = min(at, report.log_from or at)
        report.log_to = max(at, report.log_to or at)
        if at >= report.publish_again_since and _is_whole(line):
            yield {**line, "at": at}
    if report.counts["lines"] and report.log_from is None:
        raise Invalid(
            "No line of the log is JSON with a time; give a log that was written with SENDOFF_LOG_FORMAT=json."
        )


def _parse(text: str, report: RestoreReport) -> dict[str, Any] | None:
    """The JSON of a line, whatever a log collector wrote before it; None if there is none."""
    if not text.strip():
        return None
    report.counts["lines"] += 1
    start = text.find("{")
    try:
        line = orjson.loads(text[start:]) if start >= 0 else None
    except orjson.JSONDecodeError:
        return None
    return line if isinstance(line, dict) else None


def _time(line: Mapping[str, Any]) -> datetime | None:
    try:
        at = datetime.fromisoformat(line["timestamp"])
    except (KeyError, TypeError, ValueError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _is_whole(line: Mapping[str, Any]) -> bool:
    """Whether it is a line that is compared, with ids that are ids."""
    match line.get("event"):
        case "attempt_succeeded" | "attempt_failed":
            return is_event_id(str(line.get("event_id"))) and is_uuid(str(line.get("delivery")))
        case "action_audited":
            return bool(line.get("action")) and bool(line.get("target"))
    return False


async def _compare_attempts(
    context: Context,
    report: RestoreReport,
    attempts: Sequence[Mapping[str, Any]],
    events: dict[str, UnknownEvent],
    *,
    at_most: int,
) -> None:
    async with context.database.read() as tx:
        known = await queries.find_known_events(tx, {line["event_id"] for line in attempts})
        states = await queries.find_states(tx, {line["delivery"] for line in attempts})
    for line in attempts:
        succeeded = line["event"] == "attempt_succeeded"
        report.counts["attempts_succeeded" if succeeded else "attempts_failed"] += 1
        if line["event_id"] not in known:
            _note_unknown(events, line, succeeded=succeeded)
        elif succeeded and states.get(line["delivery"]) not in ("delivered", "dead", None):
            report.counts["repeated_deliveries"] += 1
            if len(report.repeated) < at_most:
                report.repeated.append(
                    RepeatedDelivery(
                        line["delivery"],
                        line["event_id"],
                        str(line.get("endpoint")),
                        str(line.get("organization")),
                        line["at"],
                    )
                )


def _note_unknown(events: dict[str, UnknownEvent], line: Mapping[str, Any], *, succeeded: bool) -> None:
    event = events.setdefault(
        line["event_id"],
        UnknownEvent(
            line["event_id"],
            str(line.get("event_type")),
            str(line.get("organization")),
            line.get("request_id"),
            line["at"],
        ),
    )
    endpoint = str(line.get("endpoint"))
    if succeeded:
        event.delivered_to.add(endpoint)
        event.attempted_at.discard(endpoint)
    elif endpoint not in event.delivered_to:
        event.attempted_at.add(endpoint)


async def _compare_actions(context: Context, report: RestoreReport, actions: list[Mapping[str, Any]]) -> None:
    """Note the changes that have no audit entry of about their time."""
    async with context.database.read() as tx:
        known = await queries.find_audited(tx, since=report.publish_again_since - _NEAR)
    audited: dict[tuple[str, str], list[datetime]] = {}
    for entry in known:
        audited.setdefault((entry.action, entry.target_id), []).append(entry.at)
    for line in actions:
        same = audited.get((line["action"], str(line["target"])), ())
        if not any(abs(at - line["at"]) <= _NEAR for at in same):
            remedy = _REMEDIES.get(line["action"], _OTHERWISE).format(target=line["target"])
            organization = line.get("organization")
            report.undone.append(
                UndoneAction(
                    line["at"], line["action"], str(line["target"]), organization, str(line.get("actor")), remedy
                )
            )
    report.undone.sort(key=lambda one: (_URGENT.index(one.action) if one.action in _URGENT else len(_URGENT), one.at))
    report.counts["undone_actions"] = len(report.undone)
