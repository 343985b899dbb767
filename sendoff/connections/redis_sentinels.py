"""The master that Sentinels name, found although the host of one of them has vanished."""

from __future__ import annotations

from redis.asyncio import Redis
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from sendoff.connections.vanished_hosts import first_answer


class Sentinels(Sentinel):
    """The library asks one after the other, and waits for seconds for one whose host has vanished."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Host and port of the master. Raises MasterNotFoundError while no Sentinel knows one that lives."""
        try:
            knowing, address = await first_answer(
                self.sentinels,
                lambda one: self._ask(one, service_name),
                passing=(RedisError, OSError),
            )
        except (RedisError, OSError) as error:
            raise MasterNotFoundError(f"No master found for {service_name!r}: {error}") from error
        self.sentinels.sort(key=lambda one: one is not knowing)  # it is asked first from now on
        return address

    async def _ask(self, sentinel: Redis, service_name: str) -> tuple[str, int]:
        try:
            state = (await sentinel.sentinel_masters()).get(service_name)  # type: ignore[no-untyped-call]
        except RuntimeError as error:  # uvloop's, of a connection that the kernel has given up meanwhile
            raise RedisConnectionError(str(error)) from error
        if not state or not self.check_master_state(state, service_name):
            raise RedisConnectionError("a Sentinel knows no master of this name that lives")
        return state["ip"], state["port"]


class SentinelPool(SentinelConnectionPool):
    """Closes the connections to the Sentinels with its own."""

    async def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT001, FBT002 - as in the library
        await super().disconnect(inuse_connections)
        if inuse_connections:  # otherwise it only lets go of a former master's
            for sentinel in self.sentinel_manager.sentinels:
                await sentinel.aclose()
