"""Admission: which deliveries a worker claims, starts, queues and releases, so that an endpoint only hurts itself.

Pure bookkeeping: no clock, no asyncio, no database. `now` is monotonic seconds everywhere.

- A worker has slots. An attempt that takes longer than SLOW_AFTER_SECONDS moves from its slot to the slow bulkhead,
  which has as many places. While that is full, the endpoints in it start nothing more.
- Some slots are reserved for endpoints that are known to be fast.
- An endpoint's concurrency limit starts at 1. A fast answer raises it to the endpoint's cap, a slower one doubles it,
  and without an answer it falls to 1. While the first answer of a fast endpoint is late, it is 2: one more attempt
  tells whether the endpoint hangs or that request alone. Attempts in the slow bulkhead that began before the last
  answer count neither against the limit nor, up to as many as the cap, against the cap: an endpoint that answers others
  would stand still for them. A cap of the endpoint's own counts them. Its rate limit and the limits of its targets
  (host and port, per organization) hold as well.
- An endpoint that is not known to answer is probed, one attempt at a time. Probes start at a rate that falls with the
  number of those outstanding, and endpoints take turns. One that does not answer gets more of them at once, up to its
  cap, while few are outstanding and no other endpoint waits for its probe.
- A claimed delivery that cannot start yet is queued in memory at its endpoint, which waits for its turn in a list, and
  evicted if that takes too long. Its state is `in_flight`; the state `queued` belongs to ordered endpoints.
"""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict, deque
from collections.abc import Container, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Generic, TypeVar

T = TypeVar("T")

FAST_WITHIN_SECONDS = 0.25
"""Seconds within which an endpoint must answer to count as fast. Longer, and slower endpoints use reserved slots."""

SLOW_AFTER_SECONDS = 2.0
"""Seconds until an attempt moves to the slow bulkhead. Longer, and receivers that hang occupy more of the slots."""

ONE_RESERVED_IN = 5
"""One slot in this many is reserved for fast endpoints, and one place in this many of each target. A higher number
leaves fast endpoints less while many others hang."""

PREFETCH_PER_CAP = 2
"""A fast endpoint may have this many times its cap queued in memory: a few dozen milliseconds' worth, which saves
claims. More, and a worker that stops has more to release."""

MAX_QUEUED_SECONDS = 2.0
"""Seconds that a delivery may be queued in memory before it is evicted: its endpoint is slower than it seemed, or slow.
Longer, and another worker that could send it finds it later."""

PROBES_PER_SECOND = 200
"""Probes per second while none is outstanding. More start together, and then time out together."""

PROBES_QUEUED = 50
"""Probes of one kind that are claimed ahead. With more, the last ones start too late in their leases while hundreds of
endpoints hang; with fewer, there are more claims."""

FEW_PROBES_ONE_IN = 20
"""While fewer probes than one for this many slots are outstanding, an endpoint may have more than one of them. A higher
number makes the backlog of an endpoint that hangs take longer; a lower one makes the first probes of others wait."""

REMEMBERED_ENDPOINTS = 10_000
"""Endpoints that are remembered, about 500 bytes each. The one used longest ago is forgotten, and probed again."""

CLAIM_BATCH_LIMIT = 200
"""Deliveries in one claim. Beyond a few hundred nothing is gained, and others wait longer for the database."""


def most_due(endpoint_cap: int, *, slots: int, endpoints: int = 1) -> int:
    """How many deliveries of one endpoint to accept as due at once; the rest is accepted as held.

    It is what a worker takes of a fast endpoint or, of many `endpoints`, its share of a worker's `slots`.
    """
    return max(1, min(endpoint_cap * (1 + PREFETCH_PER_CAP), slots // max(1, endpoints)))


class Responsiveness(Enum):
    """How an endpoint's receiver answered its last attempts, in the order in which waiting endpoints are served."""

    FAST = auto()
    """It answers, or refuses, within FAST_WITHIN_SECONDS."""
    SLOW = auto()
    """It answers later than that."""
    UNKNOWN = auto()
    """It did well according to the database, and this process has not tried it yet."""
    UNTRIED = auto()
    """It never got a delivery."""
    UNRESPONSIVE = auto()
    """It did not answer, or its first late answer is still outstanding."""

    @classmethod
    def by_database(cls, consecutive_failures: int, *, has_succeeded: bool) -> Responsiveness:
        """What the database says of an endpoint that this process has not tried yet."""
        if consecutive_failures:
            return cls.UNRESPONSIVE
        return cls.UNKNOWN if has_succeeded else cls.UNTRIED


@dataclass(frozen=True, slots=True)
class Quotas:
    """How many deliveries of an endpoint a claim may take: by endpoint in `known`, and `default` for all others.

    Of those others, the restricted ones get at most `restricted`: endpoints that failed last, were never tried, or have
    a rate limit or a cap of their own (`UNNAMED_QUOTA` in store/hot/rows.py).
    """

    known: Mapping[str, int]
    default: int
    restricted: int = sys.maxsize

    @property
    def allow_one(self) -> bool:
        """Whether every endpoint may get a delivery."""
        return self.default >= 1 and self.restricted >= 1 and all(quota >= 1 for quota in self.known.values())


UNLIMITED = Quotas({}, default=sys.maxsize)


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """What a claim says about an endpoint."""

    id: str
    responsiveness: Responsiveness = Responsiveness.UNKNOWN
    """What the database says. What was learnt here counts more."""
    targets: tuple[Hashable, ...] = ()
    """Where its requests go. All endpoints with a target in common share that target's limit."""
    rate_limit: float | None = None
    """Deliveries per second over all workers; None for no limit."""
    max_in_flight: int | None = None
    """Its own cap over all workers; None for the installation's."""


@dataclass(eq=False, slots=True)
class Ticket(Generic[T]):
    """A claimed delivery, from its offer until it is recorded."""

    item: T
    start_by: float
    """From then on it must not start: the attempt could outlive its lease."""
    queued_at: float = 0.0
    started_at: float = 0.0
    endpoint: _Endpoint[T] = field(init=False)
    probes: _Probes | None = None


@dataclass(slots=True)
class TokenBucket:
    """Tokens that come at `rate` per second. It holds what comes in a tenth of a second, but at least one."""

    rate: float
    tokens: float
    filled_at: float

    def fill(self, now: float) -> float:
        """Add the tokens that came since the last call; return how many there are."""
        added = max(0.0, now - self.filled_at) * self.rate
        self.tokens = min(max(1.0, self.rate / 10), self.tokens + added)
        self.filled_at = now
        return self.tokens


class _Probes:
    """The rate at which probes start: PROBES_PER_SECOND ÷ (1 + outstanding/spread)."""

    def __init__(self, spread: int) -> None:
        self._spread = spread
        self.outstanding = 0
        self._bucket = TokenBucket(PROBES_PER_SECOND, PROBES_PER_SECOND, 0.0)

    def may_start(self, now: float) -> bool:
        return self._bucket.fill(now) >= 1.0

    def start(self, now: float) -> None:
        self._change(now, outstanding=1, tokens=-1)

    def finish(self, now: float, *, answered: bool) -> None:
        # An answered probe gives its start to the next one: the rate is for those that stay outstanding.
        self._change(now, outstanding=-1, tokens=int(answered))

    def _change(self, now: float, *, outstanding: int, tokens: int) -> None:
        self._bucket.fill(now)
        self._bucket.tokens += tokens
        self.outstanding += outstanding
        self._bucket.rate = PROBES_PER_SECOND / (1 + self.outstanding / self._spread)


@dataclass(eq=False, slots=True)
class _Endpoint(Generic[T]):
    facts: EndpointFacts
    responsiveness: Responsiveness
    limit: int = 1
    more_probes: int = 0
    """How many probes it may have beyond its limit, while there are few."""
    in_flight: int = 0
    slow: int = 0
    overtaken: int = 0
    """Those of `slow` that began before its last answer: they hang, and it does not."""
    answered_at: float = float("-inf")
    bucket: TokenBucket | None = None
    queue: deque[Ticket[T]] = field(default_factory=deque)

    @property
    def is_fast(self) -> bool:
        return self.responsiveness is Responsiveness.FAST

    @property
    def is_idle(self) -> bool:
        return not self.in_flight and not self.queue


@dataclass(eq=False, slots=True)
class _Target(Generic[T]):
    in_flight: int = 0
    not_fast: int = 0
    """Those of `in_flight` whose endpoints are not fast."""
    waiting: dict[_Endpoint[T], None] = field(default_factory=dict)


class Admission(Generic[T]):
    """The slots of one worker process: who takes them, and what waits for them.

    The caps and rates of endpoints and targets hold over all workers: each takes the share that `set_workers` gives it.
    """

    def __init__(self, *, slots: int, endpoint_cap: int, target_cap: int) -> None:
        self._slots = slots
        self._endpoint_cap = endpoint_cap
        self._target_cap = target_cap
        self._most_probes = max(1, min(PROBES_QUEUED, _unreserved(slots) // 2))
        self._workers = 1
        self._endpoints: OrderedDict[str, _Endpoint[T]] = OrderedDict()  # the one used longest ago first
        self._busy: dict[_Endpoint[T], None] = {}
        self._targets: dict[Hashable, _Target[T]] = {}
        self._waiting_lists: dict[Responsiveness, dict[_Endpoint[T], None]] = {one: {} for one in Responsiveness}
        # With 5, hundreds of endpoints that time out after ten seconds settle at ten probes a second. With 50, a few
        # hundred endpoints that are new to this process are tried within seconds.
        not_known_to_answer = _Probes(spread=5)
        self._probes = {
            Responsiveness.UNKNOWN: _Probes(spread=50),
            Responsiveness.UNTRIED: not_known_to_answer,
            Responsiveness.UNRESPONSIVE: not_known_to_answer,
        }
        # Attempts in slots, for less and for more than FAST_WITHIN_SECONDS; the one that started first is first.
        self._fresh: dict[Ticket[T], None] = {}
        self._late: dict[Ticket[T], None] = {}
        self._evict_at = 0.0
        self._taken = 0  # slots, by what started and by what is queued
        self._not_fast = 0  # those of them that are taken for endpoints which are not fast
        self._slow = 0
        self._claiming = 0  # slots that claims under way may fill
        self._unrecorded = 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing is claimed, queued, under way or unrecorded."""
        return not (self._taken or self._slow or self._claiming or self._unrecorded)

    @property
    def has_queued(self) -> bool:
        """Whether a delivery waits here, so that `tick` has something to do."""
        return self._taken > len(self._fresh) + len(self._late)

    def places(self) -> dict[str, int]:
        """The slots and the places of the slow bulkhead, taken and free, as the metric names them."""
        return {
            "taken": self._taken,
            "free": max(0, self._slots - self._taken),
            "slow_taken": self._slow,
            "slow_free": max(0, self._slots - self._slow),
        }

    def set_workers(self, count: int) -> None:
        """How many worker processes share the caps and rates."""
        if count == self._workers or count < 1:
            return
        self._workers = count
        for endpoint in self._endpoints.values():
            if endpoint.bucket is not None and endpoint.facts.rate_limit is not None:
                endpoint.bucket.rate = endpoint.facts.rate_limit / count

    def seed(self, endpoint_id: str, responsiveness: Responsiveness) -> None:
        """Remember what the database says of an endpoint, if there is room and nothing is known of it here."""
        if endpoint_id not in self._endpoints and len(self._endpoints) < REMEMBERED_ENDPOINTS:
            self._endpoints[endpoint_id] = _Endpoint(EndpointFacts(endpoint_id), responsiveness)
            self._endpoints.move_to_end(endpoint_id, last=False)

    def responsiveness(self, endpoint_id: str) -> Responsiveness:
        """What is known of the endpoint here."""
        endpoint = self._endpoints.get(endpoint_id)
        return Responsiveness.UNKNOWN if endpoint is None else endpoint.responsiveness

    def free(self, now: float) -> int:
        """How many deliveries can be claimed at this moment, for any endpoints."""
        self._age(now)
        free_slots = self._slots - (self._taken - self._not_fast) - min(self._not_fast, _unreserved(self._slots))
        free = min(free_slots, 2 * self._slots - self._taken - self._slow)
        return max(0, free - self._claiming - self._unrecorded)

    def claim_limit(self, now: float, *, is_bulk: bool = False) -> int:
        """How many deliveries to claim at once, whatever their endpoints are; of a bulk only half as many as are free.

        The other half is left to single deliveries.
        """
        free = self.free(now)
        return min((free + 1) // 2 if is_bulk else free, CLAIM_BATCH_LIMIT, _unreserved(self._slots))

    def begin_claim(self, count: int) -> None:
        """Keep slots for a claim of at most `count` deliveries, until `end_claim`."""
        self._claiming += count

    def end_claim(self, count: int) -> None:
        """The claim is over, and what it brought has been offered: the slots that were kept for it are free."""
        self._claiming -= count

    def quotas(self, count: int, now: float, *, endpoint_ids: Iterable[str] | None = None) -> Quotas:
        """How many deliveries of which endpoint a claim of `count` may take. The others become held.

        `endpoint_ids`: whose deliveries these are; None if that is not known. While hundreds of endpoints hang, asking
        each of them takes longer than the rest of a claim.
        """
        self._age(now)
        free_for_not_fast = self._free_for_not_fast()
        fits = free_for_not_fast >= count
        default = self._cap(None) if fits and self._probes_wanted(Responsiveness.UNKNOWN) > 0 else 0
        restricted = int(fits and self._probes_wanted(Responsiveness.UNTRIED) >= count)
        known: dict[str, int] = {}
        for endpoint in list(self._busy) if endpoint_ids is None else self._named(endpoint_ids):
            claimable = self._claimable(endpoint, now)
            if not endpoint.is_fast and not fits:
                claimable = min(claimable, max(0, free_for_not_fast))
                free_for_not_fast -= claimable
            if claimable and endpoint.is_idle:  # at most its rate limit kept it here, and it has a token again
                self._busy.pop(endpoint, None)
                if not endpoint.is_fast:
                    continue  # the probes of others may come first
            if min(claimable, default, restricted) < count:  # else the claim is too small to exceed it
                known[endpoint.facts.id] = claimable
        return Quotas(known, default=default, restricted=restricted)

    def allocate(self, endpoint_ids: Iterable[str], now: float) -> dict[str, int]:
        """How many held deliveries of which of these endpoints to claim together.

        Endpoints get equal shares of the free slots; what one has no room for goes to the others, in their order.
        """
        free, free_for_not_fast = self.claim_limit(now, is_bulk=True), self._free_for_not_fast()
        probes: dict[Responsiveness | None, int] = {}
        for one in self._probes:
            more = self._probes_wanted(one)
            is_enough = 2 * more >= self._most_probes or one is Responsiveness.UNKNOWN
            probes[one] = more if is_enough else 0  # a few probes in one claim cost less than a claim for each
        probes[None] = min(probes.values())  # of endpoints that were not seeded yet
        wanted: dict[str, tuple[int, bool]] = {}
        for endpoint_id in endpoint_ids if free else ():
            endpoint = self._endpoints.get(endpoint_id)
            kind = None if endpoint is None else endpoint.responsiveness
            if probes.get(kind, 1) <= 0:
                continue  # skipped early: hundreds of hanging endpoints pass here at each round
            claimable = 1 if endpoint is None else self._claimable(endpoint, now)
            if kind in probes:
                claimable = min(claimable, probes[kind])
                probes[kind] -= claimable
            if claimable:
                wanted[endpoint_id] = claimable, kind is Responsiveness.FAST
        quotas: Counter[str] = Counter()
        for at_most in (max(1, free // max(1, len(wanted))), free):
            for endpoint_id, (claimable, is_fast) in wanted.items():
                room = free if is_fast else min(free, free_for_not_fast)
                given = min(claimable - quotas[endpoint_id], at_most, room)
                if given > 0:
                    quotas[endpoint_id] += given
                    free -= given
                    free_for_not_fast -= 0 if is_fast else given
        return {endpoint_id: quota for endpoint_id, quota in quotas.items() if quota}

    def offer(self, ticket: Ticket[T], facts: EndpointFacts, now: float) -> bool:
        """Take a claimed delivery in; return whether it starts. If not, it is queued: `finish` or `tick` returns it.

        Quotas see to it that there is room. Claims for one endpoint that run at the same time may queue more than
        they would have one after the other.
        """
        endpoint = ticket.endpoint = self._remember(facts, now)
        self._busy[endpoint] = None
        self._take(endpoint, 1)
        starts = not endpoint.queue and self._may_start(endpoint, now)
        if starts:
            self._start(ticket, now)
        else:
            ticket.queued_at = now
            endpoint.queue.append(ticket)
            self._wait_in_list(endpoint)
        return starts

    def finish(self, ticket: Ticket[T], *, answered: bool | None, now: float) -> list[Ticket[T]]:
        """An attempt is over; return what starts next. It keeps a slot until it is settled.

        `answered` is None when the attempt came to nothing that tells of the receiver.
        """
        endpoint, promptly = ticket.endpoint, ticket in self._fresh
        self._take_out(ticket)
        self._unrecorded += 1
        if answered is not None:
            self._observe(endpoint, answered=answered, promptly=promptly, now=now)
        started: list[Ticket[T]] = []
        for key in endpoint.facts.targets:
            target = self._targets[key]
            started += self._start_waiting(target.waiting, now)
            if not target.in_flight and not target.waiting:
                del self._targets[key]
        started += self._start_queued(endpoint, now)
        if ticket.probes is not None:
            ticket.probes.finish(now, answered=answered is not False)
            started += self._start_waiting_lists(now)
        if endpoint.is_idle and endpoint.bucket is None:
            self._busy.pop(endpoint, None)
        return started

    def settle(self) -> None:
        """A finished attempt is recorded, or never will be: its slot is free."""
        self._unrecorded -= 1

    def tick(self, now: float) -> tuple[list[Ticket[T]], list[Ticket[T]]]:
        """Call it about every ten milliseconds while `has_queued`. Returns what starts, and what is evicted."""
        self._age(now)
        evicted: list[Ticket[T]] = []
        if now >= self._evict_at:
            self._evict_at = now + MAX_QUEUED_SECONDS / 4
            evicted = self._evict(now)
        return self._start_waiting_lists(now), evicted

    def evict_all(self) -> list[Ticket[T]]:
        """Take out everything that is queued."""
        return self._evict(float("inf"))

    def seconds_to_token(self, endpoint_ids: Container[str], now: float) -> float | None:
        """How long until the rate of one of these endpoints allows another attempt; None when no rate stops any."""
        waits = [
            (1.0 - tokens) / endpoint.bucket.rate
            for endpoint in self._busy
            if endpoint.bucket is not None
            and endpoint.facts.id in endpoint_ids
            and (tokens := endpoint.bucket.fill(now)) < 1.0
        ]
        return min(waits, default=None)

    def _remember(self, facts: EndpointFacts, now: float) -> _Endpoint[T]:
        endpoint = self._endpoints.get(facts.id)
        if endpoint is None:
            endpoint = self._endpoints[facts.id] = _Endpoint(replace(facts, rate_limit=None), facts.responsiveness)
            oldest = next(iter(self._endpoints.values()))
            if len(self._endpoints) > REMEMBERED_ENDPOINTS and oldest.is_idle and _has_token(oldest, now):
                self._busy.pop(oldest, None)
                del self._endpoints[oldest.facts.id]
        self._endpoints.move_to_end(facts.id)
        if endpoint.responsiveness is Responsiveness.UNKNOWN:
            self._set_responsiveness(endpoint, facts.responsiveness)
        if facts.rate_limit != endpoint.facts.rate_limit:
            rate = facts.rate_limit
            endpoint.bucket = None if rate is None else TokenBucket(rate / self._workers, 1.0, now)
        if endpoint.in_flight:  # requests that are under way still count for where they were sent
            facts = replace(facts, targets=endpoint.facts.targets)
        endpoint.facts = facts
        return endpoint

    def _named(self, endpoint_ids: Iterable[str]) -> list[_Endpoint[T]]:
        """Those of these endpoints whose room counts more than what the database says of them."""
        found = (self._endpoints.get(endpoint_id) for endpoint_id in endpoint_ids)
        return [one for one in found if one is not None and (one.is_fast or one in self._busy)]

    def _cap(self, endpoint: _Endpoint[T] | None) -> int:
        """How many attempts of one endpoint this worker may have in flight."""
        own = None if endpoint is None else endpoint.facts.max_in_flight
        cap = self._endpoint_cap if own is None else min(own, self._endpoint_cap)
        return max(1, cap // self._workers)

    def _free_for_not_fast(self) -> int:
        """How many slots are free for endpoints that are not known to be fast."""
        free = _unreserved(self._slots) - self._not_fast
        return min(free, self._slots + free - self._slow)

    def _probes_wanted(self, kind: Responsiveness) -> int:
        """How many more probes of this kind to claim ahead."""
        before = len(self._waiting_lists[Responsiveness.UNTRIED]) if kind is Responsiveness.UNRESPONSIVE else 0
        return self._most_probes - len(self._waiting_lists[kind]) - before

    def _target_room(self, endpoint: _Endpoint[T], key: Hashable) -> int:
        cap = max(1, self._target_cap // self._workers)
        target = self._targets.get(key)
        if target is None:
            return cap
        room = cap - target.in_flight
        return room if endpoint.is_fast else min(room, _unreserved(cap) - target.not_fast)

    def _limit(self, endpoint: _Endpoint[T]) -> int:
        """How many attempts of the endpoint may be in flight as far as its own answers tell.

        Beyond the cap it goes on beside those overtaken: with its whole cap if it is fast, else with one attempt, whose
        answer tells. Together that is at most twice the cap.
        """
        limit = endpoint.limit + endpoint.overtaken
        if endpoint.more_probes and not self._are_many_probes(besides=endpoint):
            limit += endpoint.more_probes
        cap = self._cap(endpoint)
        if endpoint.facts.max_in_flight is None:
            beside = cap if endpoint.is_fast else 1
            cap = min(2 * cap, max(cap, endpoint.overtaken + beside))
        return min(limit, cap)

    def _are_many_probes(self, *, besides: _Endpoint[T]) -> bool:
        if self._probes[Responsiveness.UNRESPONSIVE].outstanding >= self._slots // FEW_PROBES_ONE_IN:
            return True
        return any(len(self._waiting_lists[kind]) > (besides in self._waiting_lists[kind]) for kind in self._probes)

    def _room(self, endpoint: _Endpoint[T], now: float, *, queued: int = 0, prefetched: int = 0) -> int:
        """How many more attempts of the endpoint its own limits and its targets allow, `prefetched` ones besides."""
        if endpoint.slow and self._slow >= self._slots:
            return 0
        room = self._limit(endpoint) + prefetched - endpoint.in_flight - queued
        if room <= 0:
            return 0  # as for most of those that hang, at every claim
        if endpoint.bucket is not None:
            room = min(room, int(endpoint.bucket.fill(now)) - queued)
        for key in endpoint.facts.targets:
            room = min(room, self._target_room(endpoint, key))
        return max(0, room)

    def _claimable(self, endpoint: _Endpoint[T], now: float) -> int:
        """How many deliveries of the endpoint may be claimed: to start or, if it is fast, to wait for their turn."""
        # What waits here is in flight for the database, which holds a cap of the endpoint's own over all workers.
        is_capped = endpoint.facts.max_in_flight is not None
        prefetches = endpoint.is_fast and endpoint.bucket is None and not is_capped
        prefetched = PREFETCH_PER_CAP * self._cap(endpoint) if prefetches else 0
        return self._room(endpoint, now, queued=len(endpoint.queue), prefetched=prefetched)

    def _may_start(self, endpoint: _Endpoint[T], now: float) -> bool:
        probes = self._probes.get(endpoint.responsiveness)
        return self._room(endpoint, now) > 0 and (probes is None or probes.may_start(now))

    def _take(self, endpoint: _Endpoint[T], slots: int) -> None:
        self._taken += slots
        self._not_fast += 0 if endpoint.is_fast else slots

    def _start(self, ticket: Ticket[T], now: float) -> None:
        endpoint = ticket.endpoint
        endpoint.in_flight += 1
        for key in endpoint.facts.targets:
            target = self._targets.setdefault(key, _Target())
            target.in_flight += 1
            target.not_fast += not endpoint.is_fast
        if endpoint.bucket is not None:
            endpoint.bucket.tokens -= 1
        ticket.probes = self._probes.get(endpoint.responsiveness)
        if ticket.probes is not None:
            ticket.probes.start(now)
        ticket.started_at = now
        self._fresh[ticket] = None

    def _take_out(self, ticket: Ticket[T]) -> None:
        """Take an attempt that is over out of its slot or, if it was slow, out of its place in the bulkhead."""
        endpoint = ticket.endpoint
        held_slot = self._fresh if ticket in self._fresh else self._late
        if ticket in held_slot:
            del held_slot[ticket]
            self._take(endpoint, -1)
        else:
            self._slow -= 1
            endpoint.slow -= 1
            endpoint.overtaken -= ticket.started_at < endpoint.answered_at
        endpoint.in_flight -= 1
        for key in endpoint.facts.targets:
            self._targets[key].in_flight -= 1
            self._targets[key].not_fast -= not endpoint.is_fast

    def _start_queued(self, endpoint: _Endpoint[T], now: float) -> list[Ticket[T]]:
        """Start what is queued at the endpoint, as far as it may."""
        started: list[Ticket[T]] = []
        while endpoint.queue and self._may_start(endpoint, now):
            started.append(endpoint.queue.popleft())
            self._start(started[-1], now)
        if endpoint.queue:
            self._wait_in_list(endpoint)
        return started

    def _wait_in_list(self, endpoint: _Endpoint[T]) -> None:
        """Put the endpoint at the end of the list that it waits in, if it waits for more than its own attempts."""
        if endpoint.in_flight >= self._limit(endpoint):
            return
        waiting = self._waiting_lists[endpoint.responsiveness]
        for key in endpoint.facts.targets:
            if self._target_room(endpoint, key) <= 0:
                waiting = self._targets[key].waiting
        waiting[endpoint] = None

    def _start_waiting_lists(self, now: float) -> list[Ticket[T]]:
        return [ticket for one in self._waiting_lists.values() if one for ticket in self._start_waiting(one, now)]

    def _start_waiting(self, waiting: dict[_Endpoint[T], None], now: float) -> list[Ticket[T]]:
        """Start what is queued at the endpoints of a waiting list, in turn."""
        started: list[Ticket[T]] = []
        for _ in range(len(waiting)):
            endpoint = next(iter(waiting))
            probes = self._probes.get(endpoint.responsiveness)
            if endpoint.queue and probes is not None and not probes.may_start(now):
                break
            del waiting[endpoint]
            started += self._start_queued(endpoint, now)
            if endpoint in waiting:
                break
        return started

    def _observe(self, endpoint: _Endpoint[T], *, answered: bool, promptly: bool, now: float) -> None:
        """Learn from an ended attempt; `promptly` is within FAST_WITHIN_SECONDS, answered or refused."""
        if answered or promptly:
            endpoint.answered_at, endpoint.overtaken = now, endpoint.slow
        if promptly:  # a refusal at once holds up nothing either
            self._set_responsiveness(endpoint, Responsiveness.FAST)
            endpoint.limit = self._endpoint_cap
        elif answered and not endpoint.is_fast:
            self._set_responsiveness(endpoint, Responsiveness.SLOW)
            endpoint.limit = min(2 * endpoint.limit, self._endpoint_cap)
        elif not endpoint.is_fast:
            self._set_responsiveness(endpoint, Responsiveness.UNRESPONSIVE)
            endpoint.more_probes = min(2 * endpoint.more_probes + 1, self._endpoint_cap)

    def _set_responsiveness(self, endpoint: _Endpoint[T], responsiveness: Responsiveness) -> None:
        """A change between fast and not fast moves the endpoint's slots to the other count."""
        moved = endpoint.is_fast - (responsiveness is Responsiveness.FAST)
        endpoint.responsiveness = responsiveness
        if responsiveness is Responsiveness.UNRESPONSIVE:
            endpoint.limit = 1
        else:
            endpoint.more_probes = 0
        if moved:
            self._not_fast += moved * (endpoint.in_flight - endpoint.slow + len(endpoint.queue))
            for key in endpoint.facts.targets:
                if key in self._targets:
                    self._targets[key].not_fast += moved * endpoint.in_flight

    def _age(self, now: float) -> None:
        """Note that the endpoints of late attempts are not fast; move slow attempts from slots to the slow bulkhead."""
        for ticket in _pop_started(self._fresh, now - FAST_WITHIN_SECONDS):
            self._late[ticket] = None
            if ticket.endpoint.responsiveness is not Responsiveness.SLOW:
                was_fast = ticket.endpoint.is_fast
                self._set_responsiveness(ticket.endpoint, Responsiveness.UNRESPONSIVE)
                if was_fast:
                    ticket.endpoint.limit = 2
        for ticket in _pop_started(self._late, now - SLOW_AFTER_SECONDS):
            self._take(ticket.endpoint, -1)
            ticket.endpoint.slow += 1
            ticket.endpoint.overtaken += ticket.started_at < ticket.endpoint.answered_at
            self._slow += 1

    def _evict(self, now: float) -> list[Ticket[T]]:
        """Take out what is queued for too long. A probe waits for its turn as long as its lease allows."""
        evicted: list[Ticket[T]] = []
        for endpoint in [endpoint for endpoint in self._busy if endpoint.queue]:
            waits_for_probe = endpoint.responsiveness in self._probes and not endpoint.in_flight
            patience = float("inf") if waits_for_probe else MAX_QUEUED_SECONDS
            while endpoint.queue and now >= min(endpoint.queue[0].start_by, endpoint.queue[0].queued_at + patience):
                evicted.append(endpoint.queue.popleft())
                self._take(endpoint, -1)
            if not endpoint.queue:
                for waiting in (*self._waiting_lists.values(), *(target.waiting for target in self._targets.values())):
                    waiting.pop(endpoint, None)
            if endpoint.is_idle and endpoint.bucket is None:
                del self._busy[endpoint]
        return evicted


def _has_token(endpoint: _Endpoint[T], now: float) -> bool:
    return endpoint.bucket is None or endpoint.bucket.fill(now) >= 1.0


def _unreserved(places: int) -> int:
    """How many of these places are not reserved for fast endpoints."""
    return places - places // ONE_RESERVED_IN


def _pop_started(tickets: dict[Ticket[T], None], until: float) -> list[Ticket[T]]:
    """Take those that started until then from the tickets, which are ordered by their start."""
    popped: list[Ticket[T]] = []
    while tickets:
        first = next(iter(tickets))
        if first.started_at > until:
            break
        del tickets[first]
        popped.append(first)
    return popped
