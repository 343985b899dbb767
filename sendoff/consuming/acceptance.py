"""A batch of messages becomes events, in one transaction with what says that they were accepted.

Each message is accepted, is a duplicate of one that was, or is rejected for a reason that no repetition would mend.
Rejected ones are kept in `rejected_messages`, committed with the others before any is confirmed to the broker.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

import orjson

from sendoff.accounts.authentication import check_organization
from sendoff.consuming.messages import Message, ReadMessage, organization_of, read_message, reason_of
from sendoff.consuming.source import Source
from sendoff.context import Context
from sendoff.errors import Invalid, SendoffError, Unavailable
from sendoff.idempotency import IdempotentRequest, Reservation, complete_each, reserve_all
from sendoff.ids import new_id
from sendoff.observability.metrics import EVENTS_ACCEPTED
from sendoff.policy.endpoints.matching import patterns_of_all
from sendoff.publishing.event_types import check_data, check_types, look_up_publishable
from sendoff.publishing.publish import (
    AcceptedEvent,
    Publication,
    check_fan_out,
    enqueue_accepted,
    evaluate_publication,
    insert_publications,
)
from sendoff.store.engine.database import Transaction
from sendoff.store.queries import accounts
from sendoff.store.queries.endpoints import Subscriber
from sendoff.store.queries.traffic import rejected_messages
from sendoff.store.tables import Organization, RejectedMessage

DELIVERIES_AT_MOST = 5_000
"""Deliveries in one transaction; its last message may exceed it. More holds up other writers of SQLite for longer."""

WITHIN_SECONDS = 15.0
"""Seconds that a transaction may take before the batch counts as not accepted and is tried again. Nobody waits for an
answer; less would fail on a database that is only slow."""

KEPT_BYTES = 262_144
"""Bytes of a rejected message's body that are kept: all of any that could be an event."""


_REUSED = "Another message or request had the same id and other content; give each event an id of its own."
_QUOTED = 100  # characters of what a message calls its organization
_LONGEST_ID = 255


class MessageResult(StrEnum):
    """What became of a message."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a message; `reason` says why it was rejected."""

    verdict: MessageResult
    reason: str | None = None


_ACCEPTED, _DUPLICATE = Outcome(MessageResult.ACCEPTED), Outcome(MessageResult.DUPLICATE)


@dataclass(frozen=True, slots=True)
class MessageOwner:
    """Whose events the messages are: of one organization, or of the one that each message names."""

    organization_id: str | None
    header: str
    """The header, in lower case, in which a message names its organization."""
    is_default: bool = False
    """Whether `organization_id` counts only for messages that name none."""

    def named_by(self, message: Message) -> str | None:
        """The id of the message's organization, or the id that the product's backend gave it."""
        if self.organization_id is not None and not self.is_default:
            return self.organization_id
        return organization_of(message, self.header) or self.organization_id


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A message that can be read, and whose organization exists."""

    index: int
    message: Message
    read: ReadMessage
    publication: Publication

    @property
    def request(self) -> IdempotentRequest:
        return IdempotentRequest(self.publication.organization_id, self.read.key, self.read.fingerprint)

    @property
    def identity(self) -> tuple[str, str]:
        return self.publication.organization_id, self.read.key

    @property
    def repeats(self) -> bool:
        """Whether it is a duplicate when its key is known."""
        return self.read.is_certain or self.message.is_redelivered


async def accept_messages(
    context: Context, source: Source, owner: MessageOwner, messages: Sequence[Message]
) -> list[Outcome]:
    """Publish what the messages hold, each once, and say what became of each.

    Raises Unavailable when the database or the sandbox cannot now; some may be accepted, and are duplicates then.
    """
    outcomes: dict[int, Outcome] = {}
    candidates = await _read(context, owner, messages, outcomes)
    subscribers = await _find_subscribers(context, candidates)
    for one in candidates:
        await evaluate_publication(context, one.publication, subscribers[one.publication.organization_id])
    for group in _groups(candidates, subscribers):
        outcomes |= await _commit(context, group, subscribers)
    reasons = {index: outcome.reason for index, outcome in outcomes.items() if outcome.reason is not None}
    await keep_rejected(context, source, [(messages[index], reason) for index, reason in sorted(reasons.items())])
    return [outcomes[index] for index in range(len(messages))]


async def keep_rejected(context: Context, source: Source, rejected: Sequence[tuple[Message, str]]) -> None:
    """Write messages down that were rejected, each once, with the reason."""
    if not rejected:
        return
    rows = [_rejected_row(context, source, message, reason) for message, reason in rejected]
    async with context.database.write(within=WITHIN_SECONDS) as tx:
        await rejected_messages.insert_if_new(tx, rows)


async def _read(
    context: Context, owner: MessageOwner, messages: Sequence[Message], outcomes: dict[int, Outcome]
) -> list[_Candidate]:
    """The messages that could be published; the others' outcomes are noted."""
    organizations = await _find_organizations(context, {owner.named_by(message) or "" for message in messages})
    read: list[_Candidate] = []
    for index, message in enumerate(messages):
        try:
            content = read_message(message, body_limit=context.settings.body_limit_bytes)
            organization_id = _checked(owner.named_by(message), organizations, owner)
        except Unavailable:
            raise
        except SendoffError as error:
            outcomes[index] = _rejected(error)
        else:
            publication = Publication.of(organization_id, [content.event], None)
            read.append(_Candidate(index, message, content, publication))
    registered = await look_up_publishable(context, {one.read.event.type for one in read})
    passed: list[_Candidate] = []
    for candidate in read:
        try:
            check_types(registered, candidate.publication.events, in_batch=False)
            await check_data(
                context,
                candidate.publication.organization_id,
                registered,
                candidate.publication.events,
                in_batch=False,
            )
        except Unavailable:
            raise
        except SendoffError as error:
            outcomes[candidate.index] = _rejected(error)
        else:
            passed.append(candidate)
    return passed


async def _find_organizations(context: Context, named: set[str]) -> dict[str, Organization]:
    """The organizations by what messages call them: their id, or the id that the product's backend gave them."""
    async with context.database.read(within=WITHIN_SECONDS) as tx:
        return await accounts.find_organizations(tx, named)


def _checked(named: str | None, organizations: Mapping[str, Organization], owner: MessageOwner) -> str:
    if not named:
        raise Invalid(
            f"The message names no organization; send its id in the header `{owner.header}`, or give `sendoff consume` "
            "the option --org."
        )
    organization = organizations.get(named)
    if organization is None:
        raise Invalid(f"There is no organization {named[:_QUOTED]!r}; `sendoff orgs list` shows their ids.")
    if organization.moved_to is not None and organization.moved_at is not None:
        raise Invalid(f"The organization has moved to the cell {organization.moved_to}; consume its messages there.")
    check_organization(suspended=organization.suspended_at is not None, moved_to=organization.moved_to)
    return organization.id


async def _find_subscribers(context: Context, candidates: Sequence[_Candidate]) -> Mapping[str, Sequence[Subscriber]]:
    organization_ids = {one.publication.organization_id for one in candidates}
    if not organization_ids:
        return {}
    types = {one.read.event.type for one in candidates}
    async with context.database.read(within=WITHIN_SECONDS) as tx:
        return await context.hot.find_subscribers(tx, organization_ids, patterns_of_all(types))


def _groups(
    candidates: Sequence[_Candidate], subscribers: Mapping[str, Sequence[Subscriber]]
) -> Iterator[list[_Candidate]]:
    """What is committed together: all of them, unless they make more than DELIVERIES_AT_MOST."""
    group: list[_Candidate] = []
    deliveries = 0
    for candidate in candidates:
        group.append(candidate)
        deliveries += check_fan_out(candidate.publication, subscribers[candidate.publication.organization_id])
        if deliveries >= DELIVERIES_AT_MOST:
            yield group
            group, deliveries = [], 0
    if group:
        yield group


async def _commit(
    context: Context, group: Sequence[_Candidate], subscribers: Mapping[str, Sequence[Subscriber]]
) -> dict[int, Outcome]:
    firsts: dict[tuple[str, str], _Candidate] = {}
    later = [one for one in group if firsts.setdefault(one.identity, one) is not one]
    async with context.database.write(within=WITHIN_SECONDS) as tx:
        await _hold_organizations(tx, {one.publication.organization_id for one in group})
        reservations = await reserve_all(tx, context, [one.request for one in firsts.values()])
        reserved = {one.index: found for one, found in zip(firsts.values(), reservations, strict=True)}
        outcomes = {one.index: _judge(one, reserved[one.index]) for one in firsts.values()}
        for one in later:
            outcomes[one.index] = _judge_later(one, firsts[one.identity], outcomes)
        new = [one for one in group if outcomes[one.index].verdict is MessageResult.ACCEPTED]
        accepted = await insert_publications(context, [one.publication for one in new], subscribers, tx=tx)
        answers = {
            one.request: _answer(events)
            for one, events in zip(new, accepted, strict=True)
            if reserved.get(one.index) is Reservation.NEW
        }
        await complete_each(tx, context, answers, status=202)
    for events in accepted:
        enqueue_accepted(context, events)
    EVENTS_ACCEPTED.inc(len(new))
    return outcomes


async def _hold_organizations(tx: Transaction, organization_ids: set[str]) -> None:
    """Let no organization be suspended or moved before the commit. Raises Unavailable if one was since it was read."""
    for organization in await accounts.hold_organizations(tx, organization_ids):
        if organization.suspended_at is not None:  # as it is while it moves, too
            raise Unavailable(f"The organization {organization.id} was suspended, or moves, at this moment.")


def _judge(candidate: _Candidate, found: Reservation) -> Outcome:
    match found:
        case Reservation.IN_PROGRESS:
            raise Unavailable(f"Another write with the id {candidate.read.key!r} is under way.")
        case Reservation.REUSED:
            return Outcome(MessageResult.REJECTED, _REUSED)
        case Reservation.REPEATED if candidate.repeats:
            return _DUPLICATE
    return _ACCEPTED


def _judge_later(candidate: _Candidate, first: _Candidate, outcomes: Mapping[int, Outcome]) -> Outcome:
    """What becomes of a message whose id is that of an earlier one in the same transaction."""
    if candidate.read.fingerprint != first.read.fingerprint:
        return Outcome(MessageResult.REJECTED, _REUSED)
    if outcomes[first.index].verdict is MessageResult.REJECTED:
        return outcomes[first.index]
    return _DUPLICATE if candidate.repeats else _ACCEPTED


def _answer(accepted: Sequence[AcceptedEvent]) -> bytes:
    """What a request with the same Idempotency-Key is answered, should the event come over HTTP as well."""
    [event] = accepted
    return orjson.dumps({"id": event.id, "type": event.type, "deliveries": len(event.deliveries)})


def _rejected(error: SendoffError) -> Outcome:
    return Outcome(MessageResult.REJECTED, reason_of(error))


def _rejected_row(context: Context, source: Source, message: Message, reason: str) -> RejectedMessage:
    identity = message.position or message.id or ""
    return RejectedMessage(
        id=new_id(),
        source=source.name,
        identity=sha256(f"{identity}\n{message.digest}".encode()).hexdigest(),
        message_id=_printable(message.id or message.position or "")[:_LONGEST_ID] or None,
        reason=_printable(reason),
        headers=dict(message.headers),
        body=message.body[:KEPT_BYTES],
        size=len(message.body),
        rejected_at=context.clock.now(),
    )


def _printable(text: str) -> str:
    """The text with control characters escaped, NUL among them, which PostgreSQL does not store."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
