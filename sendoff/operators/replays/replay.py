"""Replay: operators send deliveries again; counted first, paced, and kept in SQL, so that it survives restarts.

A replay is a list of deliveries. The worker ticks it: each tick makes as many due as the rate allows since the last
tick and each endpoint has capacity for, and from then on they are ordinary deliveries, behind the live ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from math import ceil
from typing import Any

import structlog

from sendoff.audit import Actor, write_audit
from sendoff.clock import iso
from sendoff.context import Context
from sendoff.errors import Conflict, Invalid, NotFound, Unavailable
from sendoff.ids import is_uuid, new_id
from sendoff.observability.metrics import RETRIES
from sendoff.operators.replays.missing import find_missing, make_missing
from sendoff.policy.delivery.replay_feed import DueTime, capacity_for, due_times
from sendoff.policy.operational_events import OperationalEventType
from sendoff.policy.states import (
    CANCEL_REPLAY,
    COMPLETE_REPLAY,
    SEND_ITEM,
    DeadLetterState,
    DeliveryState,
    ReplayItemState,
    ReplayState,
    Trigger,
)
from sendoff.publishing.evaluation import LateEvaluations
from sendoff.publishing.untransformed import transform_again
from sendoff.store.engine.database import Transaction, after_commit_of
from sendoff.store.queries import endpoints, operational_events
from sendoff.store.queries.operational_events import NewOperationalEvent
from sendoff.store.queries.traffic import dead_letters, deliveries, replays
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from sendoff.store.queries.traffic.replays import ReplayProgress, WaitingItem
from sendoff.store.tables import Replay

_log = structlog.get_logger(__name__)

DEFAULT_RATE = 50
HIGHEST_RATE = 5_000
"""Deliveries per second: the default, and the highest that may be asked for. A higher rate outruns the workers, and the
deliveries wait."""

_LONGEST_PAUSE_SECONDS = 2.0  # a tick that comes late doesn't make up for more than this: pace, not volume
_MOST_AT_ONCE = 5_000
"""Deliveries that a tick makes due at most. More keep their rows locked for longer, and the next tick waits."""
_ITEMS_AT_ONCE = 100
"""Items in one statement of a tick. With all of a second, live deliveries wait for each: 4 ms for 300 of them. With
fewer, a tick of 5,000 is not over when the next one is due."""
_ENDPOINTS_AT_ONCE = 100
"""Endpoints that a tick serves. Each costs a statement; fewer, and the others wait for more ticks."""
_EVALUATION_SECONDS = 0.5
"""Seconds of a tick in which expressions are evaluated. With more, a tick is not over when the next one is due; with
fewer, what costly transforms make is sent more slowly."""
_STATEMENT_PAUSE_SECONDS = 0.001
"""Seconds of pause after each statement of a tick. Without, live deliveries of the worker wait for all that Python does
between them, 10 ms for 300 deliveries; with four times as much, a tick of 5,000 takes more than two seconds."""
_NAMED = 3  # ids that an error names


class Included(StrEnum):
    """What a replay sends of what its filter matches."""

    DEAD = "dead"
    """Dead letters."""
    PENDING = "pending"
    """Deliveries that wait for their retry: it is made now, and if it fails, their schedule goes on."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which deliveries to replay: `delivery_ids` when given (finished ones, dead or delivered), else what is included.

    A filter without `state` means the open dead letters. Of what waits for its retry, `since` and `until` are about the
    time of its event. With `missing`, deliveries are made as well that an endpoint, as it is now, would have got.
    """

    filter: DeadLetterFilter
    delivery_ids: tuple[str, ...] | None = None
    include: tuple[Included, ...] = (Included.DEAD,)
    missing: bool = False

    def check(self, *, everything: bool) -> None:
        """Raise Invalid for a selection that contradicts itself, or means all unless `everything` is meant."""
        if self.delivery_ids is not None:
            if self.filter != DeadLetterFilter() or self.missing or self.include != (Included.DEAD,):
                raise Invalid("`filter.delivery_ids` stands alone: leave the other filters out.", field="filter")
            return
        if not self.include:
            raise Invalid("`include` is empty; name `dead`, `pending` or both.", field="include")
        for name in ("reason", "state"):
            if Included.PENDING in self.include and getattr(self.filter, name) is not None:
                raise Invalid(
                    f"`filter.{name}` is of dead letters, and `pending` deliveries are none; leave one of both out.",
                    field=f"filter.{name}",
                )
        if self.missing:
            self._check_missing()
        check_meant(self.filter, everything=everything, what="replay")

    def _check_missing(self) -> None:
        chosen = self.filter
        if chosen.since is None and chosen.since_event_id is None:
            raise Invalid(
                "`filter.missing` needs a time range; add `since`, and perhaps `until`.", field="filter.since"
            )
        if chosen.organization_id is None and chosen.endpoint_id is None:
            raise Invalid(
                "`filter.missing` needs an organization or an endpoint; add `organization_id` or `endpoint_id`.",
                field="filter.organization_id",
            )


def check_meant(chosen: DeadLetterFilter, *, everything: bool, what: str) -> None:
    """Raise Invalid for an empty filter, which means every open dead letter, unless that is said to be meant."""
    if chosen == DeadLetterFilter() and not everything:
        raise Invalid(
            f"The filter is empty, which means to {what} every open dead letter of every organization; choose some, or "
            'add `"all": true`.',
            field="all",
        )


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """A replay and how far it is."""

    replay: Replay
    progress: ReplayProgress

    @property
    def poll_seconds(self) -> int:
        """Seconds after which a page that is open looks again: each look counts all items, 13 to 30 ms for 100,000."""
        return min(1 + self.replay.total // 50_000, 30)


async def count_missing(context: Context, selection: Selection) -> int:
    """How many deliveries the replay would make that were never made."""
    if not selection.missing:
        return 0
    return sum([len(page) async for page in find_missing(context, selection.filter)])


async def count_replay(context: Context, selection: Selection) -> tuple[int, int]:
    """The number of deliveries and of endpoints that the selection matches now, without those that were never made.

    Discarded dead letters count as none; Conflict if `delivery_ids` names some.
    """
    async with context.database.read() as tx:
        if _means_discarded(selection):
            return 0, 0
        if selection.delivery_ids is not None:
            await _check_not_discarded(tx, selection.delivery_ids)
            return await replays.count_by_delivery(tx, selection.delivery_ids)
        count, found = 0, set[str]()
        if Included.DEAD in selection.include:
            count, found = await dead_letters.count_matching(tx, _with_default_state(selection.filter))
        if Included.PENDING in selection.include:
            waiting, of_waiting = await replays.count_pending(tx, selection.filter)
            count, found = count + waiting, found | of_waiting
        return count, len(found)


async def start_replay(
    context: Context,
    actor: Actor,
    selection: Selection,
    *,
    rate: int = DEFAULT_RATE,
    organization_id: str | None = None,
) -> ReplayReport:
    """Write down what is to be replayed, at `rate` deliveries per second, and enqueue it.

    `organization_id` is noted in the audit log if the filter names none.

    Raises Conflict for discarded deliveries, and Invalid when `missing` ones are to be sought in too many events.
    """
    pages = find_missing(context, selection.filter) if selection.missing else None
    missing = [] if pages is None else [one async for page in pages for one in page]
    now = context.clock.now()
    replay = Replay(
        id=new_id(),
        filter=_described(selection),
        rate=rate,
        total=0,
        requested_by=actor.name,
        created_at=now,
        ticked_at=now,
    )
    async with context.database.write() as tx:
        tx.add(replay)
        await tx.flush()
        if selection.delivery_ids is not None:
            await _check_not_discarded(tx, selection.delivery_ids)
            replay.total = await replays.add_items_by_delivery(tx, replay.id, selection.delivery_ids)
        elif not _means_discarded(selection):
            replay.total = await _add_items(tx, replay.id, selection)
        replay.total += await replays.add_missing_items(tx, replay.id, missing)
        if replay.total > _MOST_AT_ONCE:
            await replays.analyze_items(tx)
        if replay.total == 0:
            await _end(tx, replay, COMPLETE_REPLAY, now)
        write_audit(
            tx,
            actor,
            "replay.start",
            target=("replay", replay.id),
            now=now,
            organization_id=selection.filter.organization_id or organization_id,
            after={"filter": replay.filter, "rate": rate, "total": replay.total},
        )
    _log.info("replay_started", replay=replay.id, total=replay.total, rate=rate, requested_by=actor.name)
    context.queue.enqueue_replays([replay.id])
    return ReplayReport(replay, ReplayProgress(0, 0, 0))


async def _add_items(tx: Transaction, replay_id: str, selection: Selection) -> int:
    total = 0
    if Included.DEAD in selection.include:
        total += await replays.add_items_by_filter(tx, replay_id, _with_default_state(selection.filter))
    if Included.PENDING in selection.include:
        total += await replays.add_pending_items(tx, replay_id, selection.filter)
    return total


async def tick_replay(context: Context, replay_id: str) -> Collection[DueTime]:
    """Make as many due as the rate allows since the last tick; finish the replay when all were sent and have ended.

    Returns when those fall due that are not due at once, all within SPREAD_SECONDS.
    """
    evaluations = LateEvaluations()
    async with context.database.write(pause=_STATEMENT_PAUSE_SECONDS) as tx:
        replay = await _lock_running(tx, replay_id)
        if replay is None:
            return ()
        now = context.clock.now()
        tick = await _make_items_due(tx, context, replay, now, evaluations)
        if not tick.sent:
            await _finish_if_all_ended(tx, replay, now)
    _enqueue(context, tick)
    if not tick.unevaluated:
        return tick.due_later
    try:
        await evaluations.evaluate_not_found(context, seconds=_EVALUATION_SECONDS)
    except Unavailable as error:
        _log.warning("replay_postponed", replay=replay_id, error=str(error))
    evaluated = await _make_evaluated_items_due(context, replay_id, tick.unevaluated, evaluations)
    return {*tick.due_later, *evaluated.due_later}


async def cancel_replay(context: Context, actor: Actor, replay_id: str) -> ReplayReport:
    """Send no more of it; what was made due already, some seconds' worth, is still sent.

    Raises NotFound, Conflict when it has ended.
    """
    async with context.database.write() as tx:
        replay = await _find(tx, replay_id, lock=True)
        if replay.state != ReplayState.RUNNING:
            raise Conflict(f"This replay is already {replay.state}; only running ones can be cancelled.")
        now = context.clock.now()
        await _end(tx, replay, CANCEL_REPLAY, now)
        report = ReplayReport(replay, (await replays.progress(tx, [replay.id]))[replay.id])
        write_audit(
            tx,
            actor,
            "replay.cancel",
            target=("replay", replay.id),
            now=now,
            before={"state": str(ReplayState.RUNNING)},
            after={"state": str(replay.state), "replayed": report.progress.replayed},
        )
        return report


async def get_replay(context: Context, replay_id: str) -> ReplayReport:
    """One replay. Raises NotFound."""
    async with context.database.read() as tx:
        replay = await _find(tx, replay_id)
        return ReplayReport(replay, (await replays.progress(tx, [replay.id]))[replay.id])


async def list_replays(context: Context, *, limit: int, before: str | None = None) -> list[ReplayReport]:
    """Replays, newest first."""
    async with context.database.read() as tx:
        found = await replays.page(tx, limit=limit, before=before)
        progress = await replays.progress(tx, [replay.id for replay in found])
        return [ReplayReport(replay, progress[replay.id]) for replay in found]


@dataclass(slots=True)
class _Tick:
    """What came of a tick: the deliveries that were sent, and those of them that are due without being held."""

    sent: list[str] = field(default_factory=list)
    due: list[str] = field(default_factory=list)
    endpoints: set[str] = field(default_factory=set)
    """Those with held deliveries."""
    due_later: set[DueTime] = field(default_factory=set)
    """When held deliveries fall due that are not due at once."""
    unevaluated: list[WaitingItem] = field(default_factory=list)
    """What still waits, for expressions that are to be evaluated first."""


async def _make_items_due(
    tx: Transaction, context: Context, replay: Replay, now: datetime, evaluations: LateEvaluations
) -> _Tick:
    replay.ticked_at = min(replay.ticked_at, now)  # or a clock that was set back would halt it for as long
    elapsed = min((now - replay.ticked_at).total_seconds(), _LONGEST_PAUSE_SECONDS)
    allowed = min(int(elapsed * replay.rate), _MOST_AT_ONCE)
    if allowed <= 0:
        return _Tick()
    replay.ticked_at = now
    waiting = await _choose_items(tx, replay, allowed=allowed, elapsed=elapsed)
    tick = await _make_chosen_items_due(tx, context, replay, waiting, now, evaluations)
    _add_to_fed(replay, tick.unevaluated, -1)
    return tick


async def _make_evaluated_items_due(
    context: Context, replay_id: str, chosen: Sequence[WaitingItem], evaluations: LateEvaluations
) -> _Tick:
    """Make due what a tick had chosen and could not make due before its expressions were evaluated."""
    async with context.database.write(pause=_STATEMENT_PAUSE_SECONDS) as tx:
        replay = await _lock_running(tx, replay_id)
        if replay is None:
            return _Tick()
        left = await replays.still_waiting(tx, replay_id, [item.delivery_id for item in chosen])
        waiting = [item for item in chosen if item.delivery_id in left]
        tick = await _make_chosen_items_due(tx, context, replay, waiting, context.clock.now(), evaluations)
        _add_to_fed(replay, waiting, 1)
        _add_to_fed(replay, tick.unevaluated, -1)
    _enqueue(context, tick)
    return tick


async def _make_chosen_items_due(
    tx: Transaction,
    context: Context,
    replay: Replay,
    chosen: Sequence[WaitingItem],
    now: datetime,
    evaluations: LateEvaluations,
) -> _Tick:
    tick = _Tick()
    due = due_times({item.delivery_id: item.endpoint_id for item in chosen}, now)
    ordered = sorted(chosen, key=lambda item: item.endpoint_id or "")  # endpoints are locked in order
    for first in range(0, len(ordered), _ITEMS_AT_ONCE):
        some = ordered[first : first + _ITEMS_AT_ONCE]
        missing = [item for item in some if item.event_id is not None]
        made, unmade = await _make(tx, context, replay, missing, now, due, evaluations)
        existing = [item.delivery_id for item in some if item.event_id is None]
        result = await _send_again(tx, replay, existing, now, due, evaluations)
        sent = [*made, *result.held, *result.due]
        unevaluated = {*unmade, *result.unevaluated}
        done = {*sent, *result.arrived, *result.busy, *unevaluated}
        refused = [item.delivery_id for item in some if item.delivery_id not in done]
        await replays.move_items(tx, replay.id, sent, SEND_ITEM, to=ReplayItemState.SENT)
        await replays.move_items(tx, replay.id, result.arrived, SEND_ITEM, to=ReplayItemState.SUCCEEDED)
        await replays.move_items(tx, replay.id, refused, SEND_ITEM, to=ReplayItemState.FAILED)
        held = {*made, *result.held}
        times = {
            DueTime(due[one.delivery_id], one.endpoint_id)
            for one in some
            if one.endpoint_id and one.delivery_id in held
        }
        tick.sent += sent
        tick.due += result.due
        tick.endpoints |= {one.endpoint_id for one in times}
        tick.due_later |= {one for one in times if one.at > now}
        tick.unevaluated += [item for item in some if item.delivery_id in unevaluated]
    return tick


def _enqueue(context: Context, tick: _Tick) -> None:
    RETRIES.labels("replay").inc(len(tick.sent))
    context.queue.enqueue_deliveries(tick.due)
    context.queue.enqueue_backlog(tick.endpoints)


def _add_to_fed(replay: Replay, items: Iterable[WaitingItem], number: int) -> None:
    """Correct how many each endpoint was fed, by `number` for each item; the next tick judges its speed by that."""
    fed = dict(replay.fed or {})  # a new mapping, for SQLAlchemy does not see changes within one
    for endpoint_id, items_of_it in Counter(item.endpoint_id for item in items).items():
        if endpoint_id in fed:
            fed[endpoint_id] += number * items_of_it
    replay.fed = fed


async def _choose_items(tx: Transaction, replay: Replay, *, allowed: int, elapsed: float) -> list[WaitingItem]:
    """What goes now: equal shares within the capacity of each endpoint, from where the last tick ended."""
    chosen = await replays.next_items(tx, replay.id, None, limit=allowed)
    if chosen:
        await replays.name_endpoints(tx, replay.id, limit=_MOST_AT_ONCE)
        chosen = await replays.next_items(tx, replay.id, None, limit=allowed)  # their deliveries are gone
    before = replay.fed or {}
    # The column keeps the order of its keys: the last of them is where the last tick ended.
    found = await replays.next_endpoints(
        tx, replay.id, after=next(reversed(before), None), limit=_ENDPOINTS_AT_ONCE, counted=_MOST_AT_ONCE
    )
    fed: dict[str, int] = {}
    for place, endpoint in enumerate(found):
        if len(chosen) >= allowed:
            break
        share = ceil((allowed - len(chosen)) / (len(found) - place))
        capacity = capacity_for(endpoint.waiting, waited=before.get(endpoint.id, 0), elapsed=elapsed)
        items = await replays.next_items(tx, replay.id, endpoint.id, limit=min(capacity, share)) if capacity else []
        fed[endpoint.id] = endpoint.waiting + len(items)
        chosen += items
    replay.fed = fed
    return chosen


async def _make(
    tx: Transaction,
    context: Context,
    replay: Replay,
    items: Sequence[WaitingItem],
    now: datetime,
    due: Mapping[str, datetime],
    evaluations: LateEvaluations,
) -> tuple[list[str], Sequence[str]]:
    """Make deliveries that were never made: the ids of those that will be sent, and of those to be evaluated first."""
    if not items:
        return [], []
    made = await make_missing(tx, context, items, evaluations, replay_id=replay.id, now=now, due=due)
    return [one.id for one in made.deliveries if one.state != DeliveryState.DEAD], made.unevaluated


@dataclass(frozen=True, slots=True)
class _Sent:
    """What came of a replay's deliveries at a tick; those that are in none of these cannot be sent again."""

    held: Sequence[str] = ()
    due: Sequence[str] = ()
    arrived: Sequence[str] = ()
    """Those that another retry or replay has delivered since the replay was recorded."""
    busy: Sequence[str] = ()
    """Those that are under way at this moment, which a later tick looks at again."""
    unevaluated: Collection[str] = ()
    """Those whose transform is to be evaluated first."""


async def _send_again(
    tx: Transaction,
    replay: Replay,
    items: Sequence[str],
    now: datetime,
    due: Mapping[str, datetime],
    evaluations: LateEvaluations,
) -> _Sent:
    if not items:
        return _Sent()
    found = [one for one in await deliveries.find_known(tx, items) if not one.is_discarded]
    by_id = "delivery_ids" in replay.filter
    again = await transform_again(tx, [one.id for one in found if one.is_untransformed], evaluations)
    found = [one for one in found if one.id not in again.failed and one.id not in again.unevaluated]
    due_of_active = {one.id: due[one.id] for one in found if one.endpoint_is_active}
    held = await deliveries.reopen(tx, due_of_active, replay_id=replay.id, now=now, delivered=by_id)
    await dead_letters.mark_replayed(tx, held, now=now)
    arrived = [] if by_id else [delivery.id for delivery in found if delivery.state == DeliveryState.DELIVERED]
    retried: list[str] = []
    busy: list[str] = []
    if Included.PENDING in replay.filter.get("include", ()):
        waiting = [delivery.id for delivery in found if delivery.state == DeliveryState.PENDING]
        retried = await deliveries.make_retries_due(tx, waiting, replay_id=replay.id, now=now)
        busy = [delivery.id for delivery in found if delivery.state == DeliveryState.IN_FLIGHT]
    return _Sent(held, retried, arrived, busy, again.unevaluated)


async def _finish_if_all_ended(tx: Transaction, replay: Replay, now: datetime) -> None:
    progress = (await replays.progress(tx, [replay.id]))[replay.id]
    if progress.succeeded + progress.failed >= replay.total:
        await _end(tx, replay, COMPLETE_REPLAY, now)


async def _end(tx: Transaction, replay: Replay, trigger: Trigger, now: datetime) -> None:
    replay.state, replay.finished_at = trigger.target(replay.state), now
    endpoint_id = replay.filter.get("endpoint_id")
    endpoint = None if endpoint_id is None else await endpoints.find(tx, endpoint_id)
    organization_id = endpoint.organization_id if endpoint else replay.filter.get("organization_id")
    finished = NewOperationalEvent(
        OperationalEventType.REPLAY_FINISHED, now, organization_id, endpoint_id, subject_id=replay.id
    )
    await operational_events.add(tx, finished)
    fields = {
        "replay": replay.id,
        "state": str(replay.state),
        "total": replay.total,
        "requested_by": replay.requested_by,
    }
    after_commit_of(replay, lambda: _log.info("replay_finished", **fields))


async def _lock_running(tx: Transaction, replay_id: str) -> Replay | None:
    found = await replays.find(tx, replay_id, lock=True)
    return found if found is not None and found.state == ReplayState.RUNNING else None


async def _find(tx: Transaction, replay_id: str, *, lock: bool = False) -> Replay:
    found = await replays.find(tx, replay_id, lock=lock) if is_uuid(replay_id) else None
    if found is None:
        raise NotFound(f"There is no replay {replay_id}.")
    return found


async def _check_not_discarded(tx: Transaction, delivery_ids: Sequence[str]) -> None:
    """Raise Conflict if some of the deliveries were discarded: discarding means that they are not sent again."""
    found = await dead_letters.find_discarded(tx, delivery_ids)
    if found:
        raise Conflict(
            f"{len(found)} of the `delivery_ids` have discarded dead letters, which are not sent again, such as "
            f"{', '.join(found[:_NAMED])}; leave them out, or publish the events again."
        )


def _means_discarded(selection: Selection) -> bool:
    """Whether the filter asks for discarded dead letters, none of which is sent again."""
    return selection.delivery_ids is None and selection.filter.state == DeadLetterState.DISCARDED


def _with_default_state(chosen: DeadLetterFilter) -> DeadLetterFilter:
    if chosen.state is not None:
        return chosen
    return DeadLetterFilter(**{**asdict(chosen), "state": DeadLetterState.OPEN.value})


def describe_filter(chosen: DeadLetterFilter) -> dict[str, Any]:
    """The filter as it is written down, without what it leaves open."""
    given = {name: value for name, value in asdict(chosen).items() if value is not None}
    return {name: iso(value) if isinstance(value, datetime) else value for name, value in given.items()}


def _described(selection: Selection) -> dict[str, Any]:
    if selection.delivery_ids is not None:
        return {"delivery_ids": list(selection.delivery_ids)}
    described = describe_filter(_with_default_state(selection.filter))
    if selection.missing:
        described["missing"] = True
    if selection.include != (Included.DEAD,):
        described["include"] = list(selection.include)
    return described
