"""Of several that know the same thing, the first answer counts."""

from __future__ import annotations

import asyncio

import pytest

from sendoff.connections.vanished_hosts import first_answer


class Servers:
    """What each answers by its name: a text, an error, or nothing ever."""

    def __init__(self, **answers: str | Exception | None) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.given_up: list[str] = []

    async def ask(self, name: str) -> str:
        self.asked.append(name)
        answer = self.answers[name]
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            try:
                await asyncio.Event().wait()
            finally:
                self.given_up.append(name)
        return answer or ""


async def test_a_host_that_answers_keeps_the_next_from_being_asked() -> None:
    servers = Servers(a="1", b="2")
    assert await first_answer(["a", "b"], servers.ask, passing=(OSError,)) == ("a", "1")
    assert servers.asked == ["a"]


async def test_a_host_that_fails_or_is_silent_makes_room_for_the_next() -> None:
    servers = Servers(refuses=OSError("no"), silent=None, knows="1", other="2")
    found = await first_answer([*servers.answers], servers.ask, passing=(OSError,), next_after=0.01)
    assert found == ("knows", "1")
    assert servers.asked == ["refuses", "silent", "knows"]
    await asyncio.sleep(0)
    assert servers.given_up == ["silent"]


async def test_when_all_fail_the_last_error_is_raised() -> None:
    servers = Servers(a=OSError("first"), b=OSError("last"))
    with pytest.raises(OSError, match="last"):
        await first_answer(["a", "b"], servers.ask, passing=(OSError,))


async def test_an_error_that_is_no_failure_to_answer_is_raised_at_once() -> None:
    servers = Servers(a=ValueError("wrong"), b="2")
    with pytest.raises(ValueError, match="wrong"):
        await first_answer(["a", "b"], servers.ask, passing=(OSError,))
    assert servers.asked == ["a"]


async def test_a_host_that_failed_is_asked_again_while_another_is_silent() -> None:
    servers = Servers(silent=None, standby=OSError("read-only"))

    async def ask(name: str) -> str:
        if servers.asked.count("standby") == 2:
            servers.answers["standby"] = "promoted"
        return await servers.ask(name)

    found = await first_answer([*servers.answers], ask, passing=(OSError,), next_after=0.01, again=True)
    assert found == ("standby", "promoted")
    assert servers.asked == ["silent", "standby", "standby", "standby"]


async def test_an_answer_that_comes_too_late_is_dropped() -> None:
    asked, dropped = asyncio.Event(), list[str]()

    async def ask(name: str) -> str:
        if name == "b":
            asked.set()
        await asked.wait()
        return name

    found, _ = await first_answer(["a", "b"], ask, passing=(OSError,), next_after=0.01, drop=dropped.append)
    await asyncio.sleep(0)
    assert {found, *dropped} == {"a", "b"}
