"""The sandbox: answers, limits, turns by organization, and no process left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psutil
import pytest

from sendoff.errors import Invalid, TooLarge, Unavailable
from sendoff.sandbox import MOST_WAITING, LimitReached, Sandbox, Task
from tests.support.polling import eventually
from tests.support.sandbox_tasks import Allocate, Backtrack, Break, Die, Echo, Refuse, Sleep, Variables, WhoAmI


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    opened = Sandbox(processes=2)
    yield opened
    await opened.aclose()


async def run(sandbox: Sandbox, task: Task[Any], organization_id: str = "a", **limits: Any) -> Any:
    return await sandbox.run(task, organization_id=organization_id, **{"cpu_seconds": 1, "seconds": 60, **limits})


async def test_a_task_is_answered_and_reports_progress(sandbox: Sandbox) -> None:
    progress: list[int] = []
    assert await run(sandbox, Echo("läuft\n" * 100_000), progress=progress.append) == "läuft\n" * 100_000
    assert progress == [600_000]


async def test_a_process_serves_one_task_after_the_other(sandbox: Sandbox) -> None:
    assert len({await run(sandbox, WhoAmI()) for _ in range(5)}) == 1


async def test_errors_of_the_task_are_raised_again_and_leave_the_process_usable(sandbox: Sandbox) -> None:
    process = await run(sandbox, WhoAmI())
    with pytest.raises(Invalid, match="send something else") as caught:
        await run(sandbox, Refuse(is_large=False))
    assert caught.value.field == "data"
    with pytest.raises(TooLarge, match="send less"):
        await run(sandbox, Refuse(is_large=True))
    assert await run(sandbox, WhoAmI()) == process


async def test_a_defect_of_the_task_is_raised_and_not_taken_for_the_input(sandbox: Sandbox) -> None:
    with pytest.raises(RuntimeError, match="ZeroDivisionError: by mistake"):
        await run(sandbox, Break())


@pytest.mark.parametrize(
    ("task", "limits", "limit"),
    [
        (Backtrack(), {"cpu_seconds": 0.2}, "cpu"),
        (Backtrack(), {"cpu_seconds": 100, "seconds": 0.2}, "time"),
        (Sleep(600), {"seconds": 0.2}, "time"),
        (Allocate(2**31), {}, "memory"),
    ],
)
async def test_a_task_over_a_limit_ends_and_the_next_one_runs(
    sandbox: Sandbox, task: Task[Any], limits: dict[str, Any], limit: str
) -> None:
    with pytest.raises(LimitReached, match="than it may; send less at once") as caught:
        await run(sandbox, task, **limits)
    assert caught.value.limit == limit
    assert await run(sandbox, Echo("next")) == "next"


async def test_limits_count_for_each_task_alone(sandbox: Sandbox) -> None:
    for _ in range(4):
        await run(sandbox, Sleep(0.3), seconds=1)


async def test_a_process_that_dies_is_unavailable_and_replaced(sandbox: Sandbox) -> None:
    with pytest.raises(Unavailable, match="ended unexpectedly"):
        await run(sandbox, Die())
    assert await run(sandbox, Echo("next")) == "next"


async def test_a_cancelled_caller_ends_the_work(sandbox: Sandbox) -> None:
    started = asyncio.Event()
    before = set(psutil.Process().children())
    work = asyncio.create_task(run(sandbox, Backtrack(), cpu_seconds=600, progress=lambda _units: started.set()))
    await started.wait()
    (process,) = set(psutil.Process().children()) - before
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert not process.is_running()
    assert await run(sandbox, Echo("next")) == "next"


async def test_work_that_ends_soon_after_its_caller_left_leaves_its_process_for_the_next(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sendoff.sandbox.RESPITE_SECONDS", 30)
    pid = await run(sandbox, WhoAmI())
    started = asyncio.Event()
    work = asyncio.create_task(run(sandbox, Sleep(0.01), progress=lambda _units: started.set()))
    await started.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert await run(sandbox, WhoAmI()) == pid


async def test_of_idle_processes_one_stays(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sendoff.sandbox.IDLE_SECONDS", 0.05)
    before = set(psutil.Process().children())
    await asyncio.gather(*(run(sandbox, Sleep(0.05), name) for name in ("a", "b", "c")))
    await eventually(lambda: len(set(psutil.Process().children()) - before) == 1, what="the others end")
    assert await run(sandbox, Echo("again")) == "again"


async def test_closing_leaves_no_process() -> None:
    opened = Sandbox()
    pid = await run(opened, WhoAmI())
    await opened.aclose()
    assert not psutil.pid_exists(pid)


async def test_the_processes_get_none_of_the_secrets(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SENDOFF_SECRET_KEYS", "AWS_SECRET_ACCESS_KEY", "HARMLESS"):
        monkeypatch.setenv(name, "x" * 32)
    names = await run(sandbox, Variables())
    assert "HARMLESS" in names
    assert not [name for name in names if name.startswith(("SENDOFF_", "AWS_"))]


async def test_an_organization_with_many_tasks_does_not_starve_others(sandbox: Sandbox) -> None:
    finished: list[str] = []

    async def one(organization_id: str, seconds: float) -> None:
        await run(sandbox, Sleep(seconds), organization_id)
        finished.append(organization_id)

    many = [asyncio.create_task(one("a", 0.05)) for _ in range(20)]
    await asyncio.sleep(0)
    await asyncio.gather(*(one("b", 0.01) for _ in range(3)))
    assert finished.count("a") < 20
    await asyncio.gather(*many)


async def test_long_tasks_leave_a_process_for_short_ones(sandbox: Sandbox) -> None:
    started = asyncio.Event()
    long = [
        asyncio.create_task(
            run(sandbox, Sleep(600), name, cpu_seconds=100, seconds=700, progress=lambda _: started.set())
        )
        for name in ("a", "b", "c")
    ]
    await started.wait()
    assert await run(sandbox, Echo("short"), "d") == "short"
    assert await run(sandbox, Echo("short"), "b") == "short"
    for task in long:
        task.cancel()
    await asyncio.gather(*long, return_exceptions=True)


async def test_waiting_tasks_of_one_organization_are_bounded(sandbox: Sandbox) -> None:
    started = asyncio.Event()
    first = asyncio.create_task(run(sandbox, Sleep(600), seconds=700, progress=lambda _: started.set()))
    await started.wait()
    waiting = [asyncio.create_task(run(sandbox, Echo("x"))) for _ in range(MOST_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="try again"):
        await run(sandbox, Echo("x"))
    assert await run(sandbox, Echo("other"), "b") == "other"
    first.cancel()
    assert await asyncio.gather(*waiting) == ["x"] * MOST_WAITING
    await eventually(first.done, what="the cancelled task")
