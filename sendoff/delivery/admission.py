"""Pacing: how much of a worker one endpoint may take, so that it can only hurt itself. Counts; never sleeps or sends.

A worker has slots for attempts under way. An attempt that takes longer than OVERTIME_AFTER_SECONDS gives its slot back
and counts as overtime instead. Some slots are kept for endpoints that have shown themselves to be prompt: however many
receivers hang, those that answer promptly find slots. Overtime of as many attempts as there are slots stops endpoints
that are in overtime themselves; and there is never more under way than twice the slots.

Attempts for endpoints that are not known to answer wait for a start (`start_rate.py`), and only so many do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Hashable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from sendoff.delivery.token_bucket import TokenBucket

OVERTIME_AFTER_SECONDS = 2.0
"""Most receivers answer within tenths of a second; whoever needs longer waits among their like."""

LATE_AFTER_SECONDS = 0.25
"""Whoever needs longer is not prompt, until an attempt ends sooner again."""

_KEPT_FOR_PROMPT = 5
"""One slot of so many."""

_REMEMBERED = 10_000  # endpoints of which something is known; what was learnt longest ago is forgotten first

LINE_PER_CAP = 2
"""So many times its cap may stand in the line of a prompt endpoint, claimed and not yet started: a few dozen
milliseconds' worth, which saves to put them off in the database and to claim them again."""

_MOST_WAITING = 50
"""Attempts for endpoints of one standing: nothing more of those is claimed that could not start soon. One each of those
that are untried, or of which nothing is known, may wait until they are twice as many."""

LONGEST_IN_LINE_SECONDS = 2.0
"""After this the endpoint was not as prompt as it seemed; who still waits is put off in the database after all."""

CLAIM_BATCH_LIMIT = 200
"""Deliveries; past a few hundred nothing is gained any more, and others wait for the database."""

_MOST_DUE_TOGETHER = 1_000  # as many as a worker has slots, unless it is set otherwise


def most_at_once(endpoint_cap: int, *, endpoints: int = 1) -> int:
    """How many deliveries of one endpoint are due at once at most; more than that has to wait for its turn.

    It is what a worker takes at once of a prompt endpoint; of many `endpoints`, what it takes of all of them together.
    """
    return max(1, min(endpoint_cap * (1 + LINE_PER_CAP), _MOST_DUE_TOGETHER // max(1, endpoints)))


def bulk_share(free: int) -> int:
    """How many of a bulk may be claimed together: the other half of the `free` slots is for those who come alone."""
    return min(CLAIM_BATCH_LIMIT, (free + 1) // 2)


class Standing(Enum):
    """What the last attempts told of an endpoint's receiver; nothing is known of one that has none."""

    PROMPT = auto()
    """It answers, or refuses, within LATE_AFTER_SECONDS."""
    SLOW = auto()
    """It answers later than that."""
    SILENT = auto()
    """It did not answer, or an answer is overdue of which nobody knows that it comes."""
    UNTRIED = auto()
    """It never got a delivery."""


@dataclass(slots=True)
class _EndpointQuota:
    in_flight: int = 0
    overtime: int = 0
    bucket: TokenBucket | None = None
    rate_limit: float | None = None

    @property
    def in_slots(self) -> int:
        return self.in_flight - self.overtime


_IDLE = _EndpointQuota()


class AdmissionControl:
    """The slots of one worker process and who takes them. `now` is monotonic seconds everywhere.

    An endpoint's cap and rate hold over all workers: each takes the share that `set_workers` gives it.
    """

    def __init__(self, *, slots: int, endpoint_cap: int) -> None:
        self._slots = slots
        self._endpoint_cap = endpoint_cap
        self._workers = 1
        self._lanes: dict[str, _EndpointQuota] = {}
        self._limited: set[str] = set()
        self._share = slots - slots // _KEPT_FOR_PROMPT
        self._standings: dict[str, Standing] = {}  # by when each was learnt
        self._in_slots_of_others = 0
        self._most_waiting = max(1, min(_MOST_WAITING, self._share // 2))  # others need slots to answer in
        self._waiting: dict[Hashable, tuple[str, Standing | None]] = {}
        self._waiting_as: Counter[Standing | None] = Counter()
        self._fresh: dict[Hashable, tuple[str, float]] = {}  # by start, oldest first; so is the next
        self._in_slots: dict[Hashable, tuple[str, float]] = {}
        self._overtime: dict[Hashable, str] = {}

    @property
    def cap(self) -> int:
        """How many attempts of one endpoint this worker may make at once."""
        return max(1, self._endpoint_cap // self._workers)

    def set_workers(self, count: int) -> None:
        """How many worker processes share the endpoints' caps and rates."""
        if count == self._workers or count < 1:
            return
        self._workers = count
        for lane in self._lanes.values():
            if lane.bucket is not None and lane.rate_limit is not None:
                lane.bucket.rate = lane.rate_limit / count

    def set_rate_limit(self, endpoint_id: str, rate_limit: float | None, now: float) -> None:
        """The endpoint's own limit, in deliveries per second; None for none."""
        lane = self._lanes.get(endpoint_id)
        if rate_limit == (lane.rate_limit if lane else None):
            return
        lane = self._lanes.setdefault(endpoint_id, _EndpointQuota())
        lane.rate_limit = rate_limit
        lane.bucket = None if rate_limit is None else TokenBucket(rate_limit / self._workers, 1.0, now)
        if rate_limit is not None:
            self._limited.add(endpoint_id)
        else:
            self._limited.discard(endpoint_id)
            self._forget_if_idle(endpoint_id)

    def free_slots(self, now: float) -> int:
        """How many attempts can start at this moment, whoever they are for."""
        self._move_on(now)
        taken = len(self._in_slots) + len(self._waiting)
        free = self._slots - (taken - self._in_slots_of_others) - min(self._in_slots_of_others, self._share)
        return max(0, min(free, 2 * self._slots - taken - len(self._overtime)))

    def room_for(self, endpoint_id: str, now: float) -> int:
        """How many attempts of this endpoint can start, or wait for their start, at this moment; free slots aside."""
        lane = self._lanes.get(endpoint_id, _IDLE)
        if lane.overtime and len(self._overtime) >= self._slots:
            return 0
        room = self.cap - lane.in_flight
        standing = self._standings.get(endpoint_id)
        if room > 0 and standing is not Standing.PROMPT:
            room = min(room, self._slots_for_others())
            if standing is not Standing.SLOW:
                room = min(room, self._room_to_wait(standing, lane))
        if lane.bucket is not None:
            lane.bucket.fill(now)
            room = min(room, int(lane.bucket.tokens))
        return max(0, room)

    def is_prompt(self, endpoint_id: str) -> bool:
        """Whether the endpoint has shown itself to be prompt."""
        return self._standings.get(endpoint_id) is Standing.PROMPT

    def is_known_to_answer(self, endpoint_id: str) -> bool:
        """Whether its attempts start at once, as far as there is room; those of others wait for their start."""
        return self._standings.get(endpoint_id) in (Standing.PROMPT, Standing.SLOW)

    def standing(self, endpoint_id: str) -> Standing | None:
        """What is known of the endpoint."""
        return self._standings.get(endpoint_id)

    def expect(self, endpoint_id: str, standing: Standing) -> None:
        """What is known of the endpoint elsewhere; what was learnt here counts more."""
        if endpoint_id not in self._standings:
            self._set_standing(endpoint_id, standing)

    def claimable(self, endpoint_id: str, now: float, *, in_line: int) -> int:
        """How many deliveries of this endpoint may be claimed: to start, or to stand in line with those `in_line`.

        Whoever is late or limited has no line: nothing of theirs is to be taken that cannot start at once.
        """
        lane = self._lanes.get(endpoint_id, _IDLE)
        room = self.room_for(endpoint_id, now) - in_line
        if self.is_prompt(endpoint_id) and lane.bucket is None and not lane.overtime:
            room += self.cap * LINE_PER_CAP
        return max(0, room)

    def allocate(self, in_line: Mapping[str, int], free: int, now: float) -> dict[str, int]:
        """How many deliveries of which of the endpoints may be claimed together, within `free` slots.

        `in_line`: the endpoints, and how many stand in their lines. All of one standing get equal shares of what there
        is for it; what some have no room for is for the others, the first before the next.
        """
        rooms: dict[str, int] = {}
        standings = {endpoint_id: self._standings.get(endpoint_id) for endpoint_id in in_line}
        slots, silent = self._slots_for_others(), self._may_wait(Standing.SILENT)
        left = {
            Standing.PROMPT: free,
            Standing.SLOW: slots,
            Standing.SILENT: silent if 2 * silent >= self._most_waiting else 0,  # rather some at once, and less often
            Standing.UNTRIED: self._may_wait(Standing.UNTRIED, first=True),
            None: self._may_wait(None, first=True),
        }
        crowds = Counter(standings.values()).items()
        shares = {standing: max(1, min(free, left[standing]) // count) for standing, count in crowds}
        for most_each in (shares, left):
            for endpoint_id, standing in standings.items():
                is_prompt = standing is Standing.PROMPT
                most = min(free if is_prompt else min(free, slots), left[standing], most_each[standing])
                if most <= 0:
                    continue  # of the silent there may be hundreds, every time
                given = rooms.get(endpoint_id, 0)
                room = min(most, self.claimable(endpoint_id, now, in_line=in_line[endpoint_id]) - given)
                if room > 0:
                    rooms[endpoint_id] = given + room
                    free -= room
                    left[standing] -= room
                    slots -= 0 if is_prompt else room
            for standing in (None, Standing.UNTRIED):  # of which one each may wait, but no more
                left[standing] -= self._most_waiting
        return rooms

    def busy_endpoints(self, now: float) -> list[str]:
        """The endpoints that have something under way."""
        self._move_on(now)
        return list(self._lanes)

    def default_quota(self) -> int:
        """How many deliveries of an endpoint that is not busy may be claimed, whatever its standing."""
        return max(0, min(self.cap, self._slots_for_others(), self._room_to_wait(None, _IDLE)))

    def start(self, key: Hashable, endpoint_id: str, now: float) -> None:
        """An attempt, known by `key` until it finishes, begins."""
        self.wait(key, endpoint_id)
        self.begin(key, now)

    def wait(self, key: Hashable, endpoint_id: str) -> None:
        """An attempt, known by `key` until it finishes, takes a slot and waits for its start."""
        lane = self._lanes.setdefault(endpoint_id, _EndpointQuota())
        lane.in_flight += 1
        if lane.bucket is not None:
            lane.bucket.tokens -= 1
        self._in_slots_of_others += not self.is_prompt(endpoint_id)
        standing = self._standings.get(endpoint_id)
        self._waiting[key] = (endpoint_id, standing)
        self._waiting_as[standing] += 1

    def is_waiting(self, key: Hashable) -> bool:
        """Whether the attempt still waits for its start."""
        return key in self._waiting

    def begin(self, key: Hashable, now: float) -> bool:
        """An attempt that waited begins: how long it takes counts from here. Whether it is time that others wait."""
        endpoint_id, standing = self._stop_waiting(key)
        self._in_slots[key] = self._fresh[key] = (endpoint_id, now)
        return self._waiting_as[standing] == self._most_waiting // 2

    def finish(self, key: Hashable, *, answered: bool | None) -> None:
        """The attempt is over; `answered` is None when it came to nothing that tells of the receiver."""
        is_fresh = self._fresh.pop(key, None) is not None
        if key in self._overtime:
            endpoint_id = self._overtime.pop(key)
            self._lanes[endpoint_id].overtime -= 1
        else:
            if key in self._waiting:
                endpoint_id, _ = self._stop_waiting(key)
                answered = None
            else:
                endpoint_id, _ = self._in_slots.pop(key)
            self._in_slots_of_others -= not self.is_prompt(endpoint_id)
        lane = self._lanes[endpoint_id]
        lane.in_flight -= 1
        if answered is not None:
            self._learn(endpoint_id, answered=answered, promptly=is_fresh)
        self._forget_if_idle(endpoint_id)

    def seconds_to_token(self, endpoint_ids: Container[str], now: float) -> float | None:
        """How long until the rate of one of the endpoints allows another attempt; None when no rate stops any."""
        soonest: float | None = None
        for endpoint_id in self._limited:
            bucket = self._lanes[endpoint_id].bucket
            if bucket is not None and endpoint_id in endpoint_ids:
                bucket.fill(now)
                seconds = bucket.seconds_to_next()
                if seconds > 0 and (soonest is None or seconds < soonest):
                    soonest = seconds
        return soonest

    def _slots_for_others(self) -> int:
        """How many slots there are for endpoints that are not known to be prompt."""
        in_slots = self._in_slots_of_others
        return min(self._share - in_slots, self._slots + self._share - in_slots - len(self._overtime))

    def _room_to_wait(self, standing: Standing | None, lane: _EndpointQuota) -> int:
        """How many attempts of an endpoint that is not known to answer may wait for their start."""
        if lane.bucket is not None and lane.in_flight:
            return 0  # once it answers, all that wait start, however many its rate allows
        is_first = not lane.in_flight
        return max(self._may_wait(standing), int(is_first and self._may_wait(standing, first=True) > 0))

    def _may_wait(self, standing: Standing | None, *, first: bool = False) -> int:
        """How many more may wait for endpoints of one standing, or the `first` ones of as many of these."""
        twice = first and standing is not Standing.SILENT
        return self._most_waiting * (2 if twice else 1) - self._waiting_as[standing]

    def _stop_waiting(self, key: Hashable) -> tuple[str, Standing | None]:
        endpoint_id, standing = self._waiting.pop(key)
        self._waiting_as[standing] -= 1
        return endpoint_id, standing

    def _forget_if_idle(self, endpoint_id: str) -> None:
        lane = self._lanes[endpoint_id]
        if not lane.in_flight and lane.bucket is None:
            del self._lanes[endpoint_id]

    def _learn(self, endpoint_id: str, *, answered: bool, promptly: bool) -> None:
        if promptly or self.is_prompt(endpoint_id):
            self._set_standing(endpoint_id, Standing.PROMPT)  # also who refuses at once holds up nobody
        else:
            self._set_standing(endpoint_id, Standing.SLOW if answered else Standing.SILENT)

    def _set_standing(self, endpoint_id: str, standing: Standing | None) -> None:
        before = self._standings.pop(endpoint_id, None)
        if standing is not None:
            self._standings[endpoint_id] = standing
        if before is not standing:
            in_slots = self._lanes.get(endpoint_id, _IDLE).in_slots
            self._in_slots_of_others += in_slots * ((before is Standing.PROMPT) - (standing is Standing.PROMPT))
        if len(self._standings) > _REMEMBERED:
            self._set_standing(next(iter(self._standings)), None)

    def _move_on(self, now: float) -> None:
        for endpoint_id in _pop_started(self._fresh, now - LATE_AFTER_SECONDS).values():
            if self._standings.get(endpoint_id) is not Standing.SLOW:
                self._set_standing(endpoint_id, Standing.SILENT)
        for key, endpoint_id in _pop_started(self._in_slots, now - OVERTIME_AFTER_SECONDS).items():
            self._overtime[key] = endpoint_id
            self._lanes[endpoint_id].overtime += 1
            self._in_slots_of_others -= not self.is_prompt(endpoint_id)


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
