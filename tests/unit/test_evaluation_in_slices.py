"""Expressions that are evaluated on the event loop in slices: the same results, and no work done twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from sendoff.errors import TooLarge
from sendoff.policy.endpoints.expressions import EvaluationContext, ExpressionInput, Expressions
from sendoff.publishing import evaluation
from sendoff.publishing.evaluation import EvaluationJob, Slices, evaluate_cheap

FILTERS = [Expressions(filter=f"data.number == {number}") for number in range(3)]
COSTLY = Expressions(filter=" || ".join(["5 in data.list"] * 10))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def job(number: int, *pairs: Expressions) -> EvaluationJob:
    """An event with a list of 200 values and the number, for those pairs."""
    data = b'{"number":%d,"list":[%s]}' % (number, b",".join([b"1"] * 200))
    return EvaluationJob(ExpressionInput(f"evt_{number}", "a.b", NOW, data), pairs)


def keys_of(jobs: list[EvaluationJob]) -> list[tuple[str, Expressions]]:
    """What is to be evaluated for the jobs."""
    return [(one.source.id, pair) for one in jobs for pair in one.pairs]


async def test_each_event_is_parsed_once_however_many_slices_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [job(number, *FILTERS) for number in range(30)]
    at_once, _ = await evaluate_cheap(jobs, Slices())
    parsed: Counter[str] = Counter()

    class Counted(EvaluationContext):
        def __init__(self, source: ExpressionInput) -> None:
            parsed[source.id] += 1
            super().__init__(source)

    monkeypatch.setattr(evaluation, "EvaluationContext", Counted)
    monkeypatch.setattr(evaluation, "SECONDS_AT_ONCE", -1)
    in_slices, left = await evaluate_cheap(jobs, Slices())
    assert in_slices == at_once
    assert [key[0] for key, result in in_slices.items() if result.matches] == ["evt_0", "evt_1", "evt_2"]
    assert left == []
    assert parsed == {one.source.id: 1 for one in jobs}


@pytest.mark.parametrize("slices", [0, 1, 5, 7])
async def test_pairs_that_the_slices_have_no_time_for_are_left_once_each(
    monkeypatch: pytest.MonkeyPatch, slices: int
) -> None:
    monkeypatch.setattr(evaluation, "SECONDS_AT_ONCE", -1)
    jobs = [job(number, FILTERS[0], COSTLY, FILTERS[1]) for number in range(4)]
    found, left = await evaluate_cheap(jobs, Slices(slices))
    assert sorted([*found, *keys_of(left)], key=str) == sorted(keys_of(jobs), key=str)
    assert len(found) == slices - sum(pair == COSTLY for _, pair in keys_of(jobs)[:slices])


@pytest.mark.parametrize(
    ("round_seconds", "slice_seconds"), [(0.0001, 0.0002), (0.002, 0.0002), (0.004, 0.0004), (1.0, 0.0005)]
)
async def test_slices_grow_with_long_rounds_of_the_event_loop(
    monkeypatch: pytest.MonkeyPatch, round_seconds: float, slice_seconds: float
) -> None:
    clock = SimpleNamespace(now=0.0)
    clock.perf_counter = lambda: clock.now
    monkeypatch.setattr(evaluation, "time", clock)
    slices = Slices()
    asyncio.get_running_loop().call_soon(setattr, clock, "now", round_seconds)
    assert await slices.begin_next()
    clock.now = round_seconds + slice_seconds * 0.99
    assert not slices.is_over
    clock.now = round_seconds + slice_seconds * 1.01
    assert slices.is_over


async def test_costly_pairs_are_left_and_the_cheap_ones_beside_them_are_not() -> None:
    found, left = await evaluate_cheap([job(1, FILTERS[1], COSTLY), job(2, FILTERS[2])], Slices())
    assert {key: result.matches for key, result in found.items()} == {
        ("evt_1", FILTERS[1]): True,
        ("evt_2", FILTERS[2]): True,
    }
    assert keys_of(left) == [("evt_1", COSTLY)]


async def test_results_that_are_too_large_together_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "MAX_EVALUATED_CHARACTERS", 50)
    made = Expressions(transform="{'number': data.number}")
    with pytest.raises(TooLarge):
        await evaluate_cheap([job(number, made) for number in range(10)], Slices())
