"""Filters and transforms, evaluated when an event is accepted: on the event loop if cheap, else in the sandbox.

An organization without expressions costs nothing here. The data of an event is parsed once for all of its endpoints,
and endpoints with the same expressions share one evaluation.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from sendoff.errors import TooLarge, Unavailable
from sendoff.policy.endpoints.expressions import (
    Evaluated,
    EvaluationContext,
    ExpressionInput,
    Expressions,
    compile_expressions,
)
from sendoff.publishing.expression_task import CPU_SECONDS, EvaluateExpressions, failed
from sendoff.sandbox import LimitReached, Sandbox
from sendoff.store.queries.traffic import events

if TYPE_CHECKING:
    from sendoff.context import Context
    from sendoff.store.tables import Event

EXPRESSION_STEPS_AT_ONCE = 1_250
"""Steps of one pair of expressions, or of parsing an event, that are taken on the event loop: up to 0.5 ms. More are
taken in the sandbox, which takes at least 1 ms, but none of it from other requests."""

SECONDS_AT_ONCE = 0.0002
"""Seconds of evaluation on the event loop before other requests get a turn; the last pair may exceed it by 0.5 ms.
Longer slices hold up every other request of the process; each shorter one costs a round of the loop."""

LONG_ROUND_SECONDS = 0.002
LARGEST_GROWTH = 2.5
"""Slices grow with rounds of the event loop longer than LONG_ROUND_SECONDS, to LARGEST_GROWTH times theirs at most. In
rounds of 7 ms, 10,000 short filters take 0.5 s; in slices that do not grow they took 2.2 s, and longer filters more
than the 4 s after which the request is refused."""

MAX_EVALUATED_CHARACTERS = 64 * 1024 * 1024
"""Characters that transforms may make of the events of one request. They are held in memory until they are inserted."""

_SANDBOX_SECONDS = 5.0
"""Seconds that the sandbox may take for one event. Longer, and its publisher waits longer for what fails; shorter, and
expressions fail while the machine is busy."""
_READ_AT_ONCE = 20  # accepted events whose data, up to 256 KB of each, is in memory

Evaluations = dict[tuple[str, Expressions], Evaluated]
"""What pairs of expressions give, by the event's id and the pair."""


class Filtering(Protocol):
    """An endpoint with what decides which events match it, if anything does."""

    @property
    def filter(self) -> str | None: ...


class Selective(Filtering, Protocol):
    """An endpoint with its expressions, if it has any."""

    @property
    def transform(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class EvaluationJob:
    """An event, and the different pairs of expressions of its endpoints."""

    source: ExpressionInput
    pairs: Sequence[Expressions]


def expressions_of(endpoint: Selective) -> Expressions | None:
    """The endpoint's expressions; None if it has none."""
    if endpoint.filter is None and endpoint.transform is None:
        return None
    return Expressions(endpoint.filter, endpoint.transform)


def filter_of(endpoint: Filtering) -> Expressions | None:
    """The endpoint's filter without its transform, for whether an event matches; None if every event does."""
    return None if endpoint.filter is None else Expressions(filter=endpoint.filter)


def distinct_expressions(endpoints: Iterable[Selective]) -> list[Expressions]:
    """The different pairs of expressions among the endpoints."""
    return list(dict.fromkeys([pair for one in endpoints if (pair := expressions_of(one)) is not None]))


@dataclass(slots=True)
class Slices:
    """Time on the event loop, SECONDS_AT_ONCE at a time, or more on a busy one; other requests run in between."""

    left: float = math.inf
    """How many more may begin."""
    _until: float = field(init=False, default_factory=lambda: time.perf_counter() + SECONDS_AT_ONCE)

    @property
    def is_over(self) -> bool:
        """Whether the slice that has begun has lasted for its time."""
        return time.perf_counter() > self._until

    async def begin_next(self) -> bool:
        """Give other requests a turn, then begin a slice; False, at once, if none is left."""
        if self.left <= 0:
            return False
        self.left -= 1
        ended = time.perf_counter()
        await asyncio.sleep(0)
        begun = time.perf_counter()
        growth = min(max(1.0, (begun - ended) / LONG_ROUND_SECONDS), LARGEST_GROWTH)
        self._until = begun + SECONDS_AT_ONCE * growth
        return True


async def evaluate_cheap(jobs: Iterable[EvaluationJob], slices: Slices) -> tuple[Evaluations, list[EvaluationJob]]:
    """What the cheap pairs give, and the jobs that are left: costly pairs, and all that `slices` had no time for.

    Raises TooLarge when the results are.
    """
    found: Evaluations = {}
    left: list[EvaluationJob] = []
    characters = 0
    rest = iter(jobs)
    for job in rest:
        is_cheap_to_open, steps_a_read = job.source.steps_to_open <= EXPRESSION_STEPS_AT_ONCE, job.source.steps_a_read
        event, pairs = EvaluationContext(job.source), iter(job.pairs)
        costly: list[Expressions] = []
        for pair in pairs:
            # The time comes first: a pair that is not kept compiled is compiled here, for milliseconds.
            if slices.is_over and not await slices.begin_next():
                return found, [*left, EvaluationJob(job.source, [*costly, pair, *pairs]), *rest]
            compiled = compile_expressions(pair) if is_cheap_to_open else None
            if compiled is None or compiled.steps(steps_a_read) > EXPRESSION_STEPS_AT_ONCE:
                costly.append(pair)
                continue
            result = found[job.source.id, pair] = compiled.evaluate(event)
            characters += len(result.data or "")
            check_evaluated(characters)
        if costly:
            left.append(EvaluationJob(job.source, costly))
    return found, left


async def evaluate(
    context: Context, organization_id: str, jobs: Sequence[EvaluationJob], slices: Slices | None = None
) -> Evaluations:
    """What all pairs of the jobs give; calls in a row share `slices`, so that other requests run in between.

    Raises Unavailable when too much of the organization's work waits for the sandbox; nothing is decided then. Raises
    TooLarge when the results are.
    """
    found, left = await evaluate_cheap(jobs, slices or Slices())
    characters = _size(found)
    for job in left:
        results = await _evaluate_in_sandbox(context, organization_id, job)
        found |= results
        characters += _size(results)
        check_evaluated(characters)
    return found


def check_evaluated(characters: int) -> None:
    """Raise TooLarge for more than MAX_EVALUATED_CHARACTERS."""
    if characters > MAX_EVALUATED_CHARACTERS:
        raise TooLarge(
            f"The transforms of the organization's endpoints make more than {MAX_EVALUATED_CHARACTERS // 1024**2} MB "
            "of these events; publish fewer at once."
        )


def _size(results: Evaluations) -> int:
    return sum(len(result.data or "") for result in results.values())


async def evaluate_event(
    context: Context, organization_id: str, source: ExpressionInput, pairs: Sequence[Expressions]
) -> dict[Expressions, Evaluated]:
    """What each of the pairs gives for one event. Raises Unavailable as `evaluate` does."""
    found = await evaluate(context, organization_id, [EvaluationJob(source, pairs)])
    return {pair: result for (_, pair), result in found.items()}


class LateEvaluations:
    """What expressions give for events that were accepted earlier.

    A transaction only looks results up. What it does not find is evaluated when it has ended, and another transaction
    uses it: while the sandbox works, nobody waits for a lock. Expressions that were changed meanwhile are not found.
    """

    def __init__(self) -> None:
        self._found: Evaluations = {}
        self._not_found: dict[tuple[str, Expressions], list[str]] = {}

    def look_up(self, organization_id: str, event_id: str, pair: Expressions) -> Evaluated | None:
        """What the pair gives for an event of the organization; None, for now, if it was not evaluated."""
        found = self._found.get((event_id, pair))
        if found is None:
            self._not_found.setdefault((organization_id, pair), []).append(event_id)
        return found

    async def evaluate_not_found(self, context: Context, *, seconds: float) -> None:
        """Evaluate what was looked up in vain, for about `seconds`; what is left is not found again.

        The pairs have equal shares of the time, and each is evaluated for one event at least, so that a costly one does
        not keep others from their results. Raises Unavailable, after the others, if one could not be evaluated.
        """
        not_found, self._not_found = self._not_found, {}
        until, slices = context.clock.monotonic() + seconds, Slices()
        refusal: Unavailable | None = None
        for left, ((organization_id, pair), ids) in zip(range(len(not_found), 0, -1), not_found.items(), strict=True):
            now = context.clock.monotonic()
            try:
                await self._evaluate(context, organization_id, pair, ids, slices, until=now + (until - now) / left)
            except Unavailable as error:
                refusal = error
        if refusal is not None:
            raise refusal

    async def _evaluate(
        self,
        context: Context,
        organization_id: str,
        pair: Expressions,
        event_ids: Sequence[str],
        slices: Slices,
        *,
        until: float,
    ) -> None:
        for first in range(0, len(event_ids), _READ_AT_ONCE):
            some = event_ids[first : first + _READ_AT_ONCE]
            async with context.database.read(owner=organization_id) as tx:
                of_events = await events.find_many(tx, some)
            for event in [of_events[one] for one in some if one in of_events]:
                job = EvaluationJob(input_of(event), [pair])
                self._found |= await evaluate(context, organization_id, [job], slices)
                if context.clock.monotonic() >= until:
                    return


def input_of(event: Event) -> ExpressionInput:
    """What expressions read of an event that was accepted."""
    return ExpressionInput(event.id, event.type, event.occurred_at, event.data.encode())


def _length(pair: Expressions) -> int:
    return len(pair.filter or "") + len(pair.transform or "")


async def _evaluate_in_sandbox(context: Context, organization_id: str, job: EvaluationJob) -> Evaluations:
    """Evaluate in the sandbox, the shortest pairs first, so that costly ones fail before others do."""
    source = job.source
    order = sorted(job.pairs, key=_length)
    task = EvaluateExpressions(order, source.id, source.type, source.occurred_at, source.data.decode())
    try:
        results = await context.service(Sandbox.of).run(
            task, organization_id=organization_id, cpu_seconds=2 * CPU_SECONDS, seconds=_SANDBOX_SECONDS
        )
    except LimitReached as error:
        too_large = f"{error.message} The event's data is too large for the expressions."
        results = [failed(pair, too_large) for pair in order]
    return {(source.id, pair): result for pair, result in zip(order, results, strict=True)}
