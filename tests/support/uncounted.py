"""A stand-in for Redis that counts nothing: for tests and benchmarks that register endpoints without a Valkey."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from redis.asyncio import Redis


class _Pipeline:
    def __init__(self) -> None:
        self._commands = 0

    def incr(self, _key: str) -> None:
        self._commands += 1

    def expire(self, _key: str, _seconds: int) -> None:
        self._commands += 1

    async def execute(self) -> list[int]:
        return [1] * self._commands


class _Uncounted:
    def pipeline(self, *, transaction: bool) -> _Pipeline:
        assert not transaction
        return _Pipeline()


def uncounted_redis() -> Redis:
    """Every counter of a minute stands at 1, whatever was counted before."""
    return cast("Redis", _Uncounted())
