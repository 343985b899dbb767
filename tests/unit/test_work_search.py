"""One look at the database serves all loops that ask every second."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from sendoff.clock import FakeClock, choose_wake_up_times, seconds_to_next
from sendoff.store.hot.rows import WorkAtHand
from sendoff.work_search import WorkSearch

NOTHING = WorkAtHand(
    deliveries=False, uploads=False, replays=False, held=False, queued=False, drains=False, alerts=False
)
LAG = timedelta(seconds=2)


class _Store:
    """Answers after a turn of the loop, and keeps the lags that it was asked with."""

    def __init__(self) -> None:
        self.lags: list[timedelta] = []

    async def look_for_work(self, *, now: datetime, enqueued_until: datetime) -> WorkAtHand:
        self.lags.append(now - enqueued_until)
        await asyncio.sleep(0)
        return NOTHING


def _search() -> tuple[WorkSearch, _Store, FakeClock]:
    store, clock = _Store(), FakeClock(datetime(2026, 11, 28, tzinfo=UTC))
    context: Any = SimpleNamespace(hot=store, clock=clock)
    return WorkSearch(context), store, clock


async def test_loops_that_ask_together_share_one_look() -> None:
    search, store, clock = _search()
    await asyncio.gather(search.find(sweep_lag=LAG), *(search.find() for _ in range(3)))
    assert store.lags == [LAG]
    clock.advance(1.0)
    await asyncio.gather(search.find(), search.find(sweep_lag=LAG))
    assert store.lags == [LAG, LAG]


async def test_a_sweep_that_leaves_out_less_looks_again() -> None:
    search, store, _ = _search()
    await search.find(sweep_lag=LAG)
    await search.find(sweep_lag=timedelta(0))
    await search.find(sweep_lag=LAG)  # what counts more serves it
    assert store.lags == [LAG, timedelta(0)]


def test_processes_of_a_host_wake_up_at_times_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sendoff.clock._wake_up_offset", 0.0)
    times = set()
    for _ in range(5):
        choose_wake_up_times()
        by_the_minute, by_the_second = (120.0 + seconds_to_next(every, 120.0) for every in (60.0, 1.0))
        assert (by_the_minute - by_the_second) % 1 in (pytest.approx(0, abs=1e-9), pytest.approx(1, abs=1e-9))
        times.add(by_the_minute)
    assert len(times) == 5


@pytest.mark.parametrize("every", [1.0, 60.0])
@pytest.mark.parametrize("part", [0.0, 0.25, 0.49, 0.51, 0.99])
def test_loops_with_one_interval_sleep_until_a_common_time(every: float, part: float) -> None:
    now = (1_000 + part) * every
    wait = seconds_to_next(every, now)
    assert every / 2 <= wait <= 1.5 * every
    assert (now + wait) / every == pytest.approx(round((now + wait) / every), abs=1e-9)
