"""The clock that processes share: it goes on from the server's answers, whatever the machine's clock does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sendoff.clock import FakeClock, SharedClock

NOON = datetime(2026, 4, 24, 12, tzinfo=UTC)


def test_before_the_first_answer_it_is_the_machines_time() -> None:
    assert SharedClock(FakeClock(NOON)).now() == NOON


def test_it_goes_on_from_the_answer_and_the_machines_time_stays() -> None:
    machine = FakeClock(NOON)
    machine.advance(5)
    clock = SharedClock(machine)
    clock.set(NOON - timedelta(seconds=30), asked_at=machine.monotonic())
    machine.advance(10)
    assert clock.now() == NOON - timedelta(seconds=20)
    assert clock.machine_now() == NOON + timedelta(seconds=15)
    assert clock.machine_is_ahead == 35


def test_the_answer_is_from_the_middle_of_the_time_that_it_took() -> None:
    machine = FakeClock(NOON)
    clock = SharedClock(machine)
    machine.advance(4)
    clock.set(NOON, asked_at=0)
    assert clock.now() == NOON + timedelta(seconds=2)


def test_a_later_answer_replaces_an_earlier_one() -> None:
    machine = FakeClock(NOON)
    clock = SharedClock(machine)
    for ahead in (60, -60):
        clock.set(NOON + timedelta(seconds=ahead), asked_at=machine.monotonic())
    assert clock.now() == NOON - timedelta(seconds=60)
