"""Admission control: how much of a worker one endpoint may take, so that it can only hurt itself. Pure bookkeeping.

A worker has slots for attempts under way. An attempt that takes longer than SLOW_AFTER_SECONDS moves from its slot to
the slow bulkhead. Some slots are reserved for endpoints that are known to be fast: however many receivers hang, those
that answer promptly find slots. When the slow bulkhead has as many attempts as there are slots, endpoints that are in
it start nothing more; and there is never more under way than twice the slots.

Attempts for endpoints that are not known to answer wait for a start (`start_rate.py`), and their number is limited.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Hashable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

SLOW_AFTER_SECONDS = 2.0
"""Seconds until an attempt moves to the slow bulkhead. Longer, and receivers that hang occupy more of the slots."""

LATE_AFTER_SECONDS = 0.25
"""Seconds within which an endpoint must answer to count as fast. Longer, and slower endpoints use reserved slots."""

_RESERVED_FOR_FAST = 5
"""One slot in this many is reserved for fast endpoints."""

_REMEMBERED = 10_000
"""Endpoints whose responsiveness is remembered, about 100 bytes each; the one observed longest ago is forgotten."""

PREFETCH_PER_CAP = 2
"""A fast endpoint may have this many times its cap prefetched: a few dozen milliseconds' worth, which saves requeueing
and claiming again. More, and a worker that stops has more to release."""

_MOST_WAITING = 50
"""Maximum attempts queued per responsiveness class. Untried and unknown endpoints may queue one attempt each up to
twice this."""

PREFETCH_MAX_SECONDS = 2.0
"""Seconds after which a prefetched delivery is requeued: its endpoint is slower than it seemed."""

CLAIM_BATCH_LIMIT = 200
"""Deliveries in one claim. Beyond a few hundred nothing is gained, and others wait longer for the database."""

_BURST_SECONDS = 0.1
"""A rate limit holds over every window that is not much shorter than this."""

_MOST_DUE_TOGETHER = 1_000
"""Deliveries of one publish that are due at once over all endpoints: the default number of a worker's slots."""


def most_at_once(endpoint_cap: int, *, endpoints: int = 1) -> int:
    """How many deliveries of one endpoint are due at once at most; more than that has to wait for its turn.

    It is what a worker takes at once of a prompt endpoint; of many `endpoints`, what it takes of all of them together.
    """
    return max(1, min(endpoint_cap * (1 + PREFETCH_PER_CAP), _MOST_DUE_TOGETHER // max(1, endpoints)))


def bulk_share(free: int) -> int:
    """How many of a bulk may be claimed together: the other half of the `free` slots is for those who come alone."""
    return min(CLAIM_BATCH_LIMIT, (free + 1) // 2)


@dataclass(slots=True)
class TokenBucket:
    """Tokens that come at `rate` per second, at most as many at once as come in `burst_seconds`."""

    rate: float
    tokens: float
    filled_at: float
    burst_seconds: float = _BURST_SECONDS

    @property
    def depth(self) -> float:
        """The most tokens there can be."""
        return max(1.0, self.rate * self.burst_seconds)

    def fill(self, now: float) -> None:
        """Add what came since the last time."""
        self.tokens = min(self.depth, self.tokens + max(0.0, now - self.filled_at) * self.rate)
        self.filled_at = now

    def seconds_to_next(self) -> float:
        """How long until there is a whole token."""
        return max(0.0, (1.0 - self.tokens) / self.rate)


class Responsiveness(Enum):
    """How an endpoint's receiver answered the last attempts."""

    FAST = auto()
    """It answers, or refuses, within LATE_AFTER_SECONDS."""
    SLOW = auto()
    """It answers later than that."""
    UNRESPONSIVE = auto()
    """It did not answer, or its first late answer is still outstanding."""
    UNTRIED = auto()
    """It never got a delivery."""
    UNKNOWN = auto()
    """It did well by the database, and this process has not tried it yet."""


@dataclass(slots=True)
class _EndpointQuota:
    in_flight: int = 0
    slow: int = 0
    bucket: TokenBucket | None = None
    rate_limit: float | None = None

    @property
    def in_slots(self) -> int:
        return self.in_flight - self.slow


_IDLE = _EndpointQuota()


class AdmissionControl:
    """The slots of one worker process and who takes them. `now` is monotonic seconds everywhere.

    An endpoint's cap and rate hold over all workers: each takes the share that `set_workers` gives it.
    """

    def __init__(self, *, slots: int, endpoint_cap: int) -> None:
        self._slots = slots
        self._endpoint_cap = endpoint_cap
        self._workers = 1
        self._endpoints: dict[str, _EndpointQuota] = {}
        self._limited: set[str] = set()
        self._share = slots - slots // _RESERVED_FOR_FAST
        self._responsiveness: dict[str, Responsiveness] = {}  # by when each was learnt
        self._in_slots_of_others = 0
        self._most_waiting = max(1, min(_MOST_WAITING, self._share // 2))  # others need slots to answer in
        self._waiting: dict[Hashable, tuple[str, Responsiveness]] = {}
        self._waiting_as: Counter[Responsiveness] = Counter()
        self._fresh: dict[Hashable, tuple[str, float]] = {}  # by start, oldest first; so is the next
        self._in_slots: dict[Hashable, tuple[str, float]] = {}
        self._slow: dict[Hashable, str] = {}

    @property
    def cap(self) -> int:
        """How many attempts of one endpoint this worker may make at once."""
        return max(1, self._endpoint_cap // self._workers)

    def set_workers(self, count: int) -> None:
        """How many worker processes share the endpoints' caps and rates."""
        if count == self._workers or count < 1:
            return
        self._workers = count
        for quota in self._endpoints.values():
            if quota.bucket is not None and quota.rate_limit is not None:
                quota.bucket.rate = quota.rate_limit / count

    def set_rate_limit(self, endpoint_id: str, rate_limit: float | None, now: float) -> None:
        """The endpoint's own limit, in deliveries per second; None for none."""
        quota = self._endpoints.get(endpoint_id)
        if rate_limit == (quota.rate_limit if quota else None):
            return
        quota = self._endpoints.setdefault(endpoint_id, _EndpointQuota())
        quota.rate_limit = rate_limit
        quota.bucket = None if rate_limit is None else TokenBucket(rate_limit / self._workers, 1.0, now)
        if rate_limit is not None:
            self._limited.add(endpoint_id)
        else:
            self._limited.discard(endpoint_id)
            self._forget_if_idle(endpoint_id)

    def free_slots(self, now: float) -> int:
        """How many attempts can start at this moment, for any endpoints."""
        self._expire(now)
        taken = len(self._in_slots) + len(self._waiting)
        free = self._slots - (taken - self._in_slots_of_others) - min(self._in_slots_of_others, self._share)
        return max(0, min(free, 2 * self._slots - taken - len(self._slow)))

    def available(self, endpoint_id: str, now: float) -> int:
        """How many attempts of this endpoint can start, or wait for their start, at this moment; free slots aside."""
        quota = self._endpoints.get(endpoint_id, _IDLE)
        if quota.slow and len(self._slow) >= self._slots:
            return 0
        capacity = self.cap - quota.in_flight
        responsiveness = self._responsiveness.get(endpoint_id, Responsiveness.UNKNOWN)
        if capacity > 0 and responsiveness is not Responsiveness.FAST:
            capacity = min(capacity, self._slots_for_others())
            if responsiveness is not Responsiveness.SLOW:
                capacity = min(capacity, self._capacity_to_wait(responsiveness, quota))
        if quota.bucket is not None:
            quota.bucket.fill(now)
            capacity = min(capacity, int(quota.bucket.tokens))
        return max(0, capacity)

    def is_fast(self, endpoint_id: str) -> bool:
        """Whether the endpoint has shown itself to be prompt."""
        return self._responsiveness.get(endpoint_id, Responsiveness.UNKNOWN) is Responsiveness.FAST

    def is_known_to_answer(self, endpoint_id: str) -> bool:
        """Whether its attempts start at once, as far as there is capacity; those of others wait for their start."""
        return self.responsiveness(endpoint_id) in (Responsiveness.FAST, Responsiveness.SLOW)

    def responsiveness(self, endpoint_id: str) -> Responsiveness:
        """What is known of the endpoint."""
        return self._responsiveness.get(endpoint_id, Responsiveness.UNKNOWN)

    def seed(self, endpoint_id: str, responsiveness: Responsiveness) -> None:
        """What is known of the endpoint elsewhere; what was learnt here counts more."""
        if endpoint_id not in self._responsiveness:
            self._set_responsiveness(endpoint_id, responsiveness)

    def claimable(self, endpoint_id: str, now: float, *, prefetched: int) -> int:
        """How many deliveries of this endpoint may be claimed: to start, or to wait with those `prefetched`.

        Slow and rate-limited endpoints have no prefetch: their deliveries are claimed only if they can start at once.
        """
        quota = self._endpoints.get(endpoint_id, _IDLE)
        capacity = self.available(endpoint_id, now) - prefetched
        if self.is_fast(endpoint_id) and quota.bucket is None and not quota.slow:
            capacity += self.cap * PREFETCH_PER_CAP
        return max(0, capacity)

    def allocate(self, prefetched: Mapping[str, int], free: int, now: float) -> dict[str, int]:
        """How many deliveries of which of the endpoints may be claimed together, within `free` slots.

        `prefetched`: the endpoints, and how many deliveries of each are prefetched. Endpoints of one responsiveness get
        equal shares; what one has no capacity for goes to the others, in their order.
        """
        quotas: dict[str, int] = {}
        classes = {endpoint_id: self.responsiveness(endpoint_id) for endpoint_id in prefetched}
        slots, silent = self._slots_for_others(), self._may_wait(Responsiveness.UNRESPONSIVE)
        left = {
            Responsiveness.FAST: free,
            Responsiveness.SLOW: slots,
            Responsiveness.UNRESPONSIVE: silent
            if 2 * silent >= self._most_waiting
            else 0,  # rather some at once, and less often
            Responsiveness.UNTRIED: self._may_wait(Responsiveness.UNTRIED, first=True),
            Responsiveness.UNKNOWN: self._may_wait(Responsiveness.UNKNOWN, first=True),
        }
        crowds = Counter(classes.values()).items()
        shares = {responsiveness: max(1, min(free, left[responsiveness]) // count) for responsiveness, count in crowds}
        for most_each in (shares, left):
            for endpoint_id, responsiveness in classes.items():
                is_fast = responsiveness is Responsiveness.FAST
                most = min(free if is_fast else min(free, slots), left[responsiveness], most_each[responsiveness])
                if most <= 0:
                    continue  # of the silent there may be hundreds, every time
                given = quotas.get(endpoint_id, 0)
                capacity = min(most, self.claimable(endpoint_id, now, prefetched=prefetched[endpoint_id]) - given)
                if capacity > 0:
                    quotas[endpoint_id] = given + capacity
                    free -= capacity
                    left[responsiveness] -= capacity
                    slots -= 0 if is_fast else capacity
            for responsiveness in (
                Responsiveness.UNKNOWN,
                Responsiveness.UNTRIED,
            ):  # of which one each may wait, but no more
                left[responsiveness] -= self._most_waiting
        return quotas

    def busy_endpoints(self, now: float) -> list[str]:
        """The endpoints that have something under way."""
        self._expire(now)
        return list(self._endpoints)

    def default_quota(self) -> int:
        """How many deliveries of an endpoint that is not busy may be claimed, whatever its responsiveness."""
        return max(0, min(self.cap, self._slots_for_others(), self._capacity_to_wait(Responsiveness.UNKNOWN, _IDLE)))

    def start(self, key: Hashable, endpoint_id: str, now: float) -> None:
        """An attempt, known by `key` until it finishes, begins."""
        self.wait(key, endpoint_id)
        self.begin(key, now)

    def wait(self, key: Hashable, endpoint_id: str) -> None:
        """An attempt, known by `key` until it finishes, takes a slot and waits for its start."""
        quota = self._endpoints.setdefault(endpoint_id, _EndpointQuota())
        quota.in_flight += 1
        if quota.bucket is not None:
            quota.bucket.tokens -= 1
        self._in_slots_of_others += not self.is_fast(endpoint_id)
        responsiveness = self._responsiveness.get(endpoint_id, Responsiveness.UNKNOWN)
        self._waiting[key] = (endpoint_id, responsiveness)
        self._waiting_as[responsiveness] += 1

    def is_waiting(self, key: Hashable) -> bool:
        """Whether the attempt still waits for its start."""
        return key in self._waiting

    def begin(self, key: Hashable, now: float) -> bool:
        """An attempt that waited begins: how long it takes counts from here. Whether it is time that others wait."""
        endpoint_id, responsiveness = self._stop_waiting(key)
        self._in_slots[key] = self._fresh[key] = (endpoint_id, now)
        return self._waiting_as[responsiveness] == self._most_waiting // 2

    def finish(self, key: Hashable, *, answered: bool | None) -> None:
        """The attempt is over; `answered` is None when it came to nothing that tells of the receiver."""
        is_fresh = self._fresh.pop(key, None) is not None
        if key in self._slow:
            endpoint_id = self._slow.pop(key)
            self._endpoints[endpoint_id].slow -= 1
        else:
            if key in self._waiting:
                endpoint_id, _ = self._stop_waiting(key)
                answered = None
            else:
                endpoint_id, _ = self._in_slots.pop(key)
            self._in_slots_of_others -= not self.is_fast(endpoint_id)
        quota = self._endpoints[endpoint_id]
        quota.in_flight -= 1
        if answered is not None:
            self._observe(endpoint_id, answered=answered, promptly=is_fresh)
        self._forget_if_idle(endpoint_id)

    def seconds_to_token(self, endpoint_ids: Container[str], now: float) -> float | None:
        """How long until the rate of one of the endpoints allows another attempt; None when no rate stops any."""
        soonest: float | None = None
        for endpoint_id in self._limited:
            bucket = self._endpoints[endpoint_id].bucket
            if bucket is not None and endpoint_id in endpoint_ids:
                bucket.fill(now)
                seconds = bucket.seconds_to_next()
                if seconds > 0 and (soonest is None or seconds < soonest):
                    soonest = seconds
        return soonest

    def _slots_for_others(self) -> int:
        """How many slots there are for endpoints that are not known to be prompt."""
        in_slots = self._in_slots_of_others
        return min(self._share - in_slots, self._slots + self._share - in_slots - len(self._slow))

    def _capacity_to_wait(self, responsiveness: Responsiveness, quota: _EndpointQuota) -> int:
        """How many attempts of an endpoint that is not known to answer may wait for their start."""
        if quota.bucket is not None and quota.in_flight:
            return 0  # once it answers, all that wait start, however many its rate allows
        is_first = not quota.in_flight
        return max(self._may_wait(responsiveness), int(is_first and self._may_wait(responsiveness, first=True) > 0))

    def _may_wait(self, responsiveness: Responsiveness, *, first: bool = False) -> int:
        """How many more may wait for endpoints of one responsiveness, or the `first` ones of as many of these."""
        twice = first and responsiveness is not Responsiveness.UNRESPONSIVE
        return self._most_waiting * (2 if twice else 1) - self._waiting_as[responsiveness]

    def _stop_waiting(self, key: Hashable) -> tuple[str, Responsiveness]:
        endpoint_id, responsiveness = self._waiting.pop(key)
        self._waiting_as[responsiveness] -= 1
        return endpoint_id, responsiveness

    def _forget_if_idle(self, endpoint_id: str) -> None:
        quota = self._endpoints[endpoint_id]
        if not quota.in_flight and quota.bucket is None:
            del self._endpoints[endpoint_id]

    def _observe(self, endpoint_id: str, *, answered: bool, promptly: bool) -> None:
        if promptly or self.is_fast(endpoint_id):
            self._set_responsiveness(endpoint_id, Responsiveness.FAST)  # also who refuses at once holds up nobody
        else:
            self._set_responsiveness(endpoint_id, Responsiveness.SLOW if answered else Responsiveness.UNRESPONSIVE)

    def _set_responsiveness(self, endpoint_id: str, responsiveness: Responsiveness) -> None:
        before = self._responsiveness.pop(endpoint_id, Responsiveness.UNKNOWN)
        if responsiveness is not Responsiveness.UNKNOWN:
            self._responsiveness[endpoint_id] = responsiveness
        if before is not responsiveness:
            in_slots = self._endpoints.get(endpoint_id, _IDLE).in_slots
            self._in_slots_of_others += in_slots * (
                (before is Responsiveness.FAST) - (responsiveness is Responsiveness.FAST)
            )
        if len(self._responsiveness) > _REMEMBERED:
            self._set_responsiveness(next(iter(self._responsiveness)), Responsiveness.UNKNOWN)

    def _expire(self, now: float) -> None:
        for endpoint_id in _pop_started(self._fresh, now - LATE_AFTER_SECONDS).values():
            if self._responsiveness.get(endpoint_id, Responsiveness.UNKNOWN) is not Responsiveness.SLOW:
                self._set_responsiveness(endpoint_id, Responsiveness.UNRESPONSIVE)
        for key, endpoint_id in _pop_started(self._in_slots, now - SLOW_AFTER_SECONDS).items():
            self._slow[key] = endpoint_id
            self._endpoints[endpoint_id].slow += 1
            self._in_slots_of_others -= not self.is_fast(endpoint_id)


def _pop_started(attempts: dict[Hashable, tuple[str, float]], until: float) -> dict[Hashable, str]:
    """Take those that started until then from the attempts, which are ordered by their start; with their endpoints."""
    popped: dict[Hashable, str] = {}
    while attempts:
        key = next(iter(attempts))
        endpoint_id, started = attempts[key]
        if started > until:
            break
        del attempts[key]
        popped[key] = endpoint_id
    return popped
