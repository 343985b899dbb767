"""Of several that know the same thing, the first answer counts."""

from __future__ import annotations

import asyncio

import pytest

from sendoff.connections import vanished_hosts
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


async def test_who_answers_keeps_the_next_from_being_asked() -> None:
    servers = Servers(a="1", b="2")
    assert await first_answer(["a", "b"], servers.ask, passing=(OSError,)) == ("a", "1")
    assert servers.asked == ["a"]


async def test_who_fails_or_is_silent_makes_room_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vanished_hosts, "NEXT_SECONDS", 0.01)
    servers = Servers(refuses=OSError("no"), silent=None, knows="1", other="2")
    assert await first_answer([*servers.answers], servers.ask, passing=(OSError,)) == ("knows", "1")
    assert servers.asked == ["refuses", "silent", "knows"]
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
