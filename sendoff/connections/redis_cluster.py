"""The one node of a Redis or Valkey Cluster that holds all of an installation's keys.

All keys have the same hash tag, so they are in one slot, whose owner is found as a master is found behind Sentinel: by
asking any node that answers. When the slot moves or its owner fails over, connections are made again to the new owner.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.asyncio.connection import Connection, SSLConnection
from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from sendoff.connections.vanished_hosts import first_answer
from sendoff.server_urls.redis import KEY_TAG

_ELSEWHERE = ("MOVED ", "ASK ", "CLUSTERDOWN ")
_SLOT = key_slot(KEY_TAG.encode())


class ClusterNodes:
    """The nodes of a cluster that are known: first those of the setting, then all that a node has named."""

    def __init__(self, seeds: Sequence[tuple[str, int]], *, connection_class: type[Connection], **options: Any) -> None:
        """`options`: what a connection to any of them needs besides host and port."""
        self._known = list(seeds)
        self._seeds = list(seeds)
        self._connection_class = connection_class
        self._options = options

    async def find_owner(self) -> tuple[str, int]:
        """Host and port of the node that owns the slot of our keys. Raises RedisError when no node knows it."""
        nodes = list(dict.fromkeys([*self._known, *self._seeds]))
        try:
            _, owners = await first_answer(nodes, self._ask, passing=(RedisError, OSError))
        except (RedisError, OSError) as error:
            raise RedisConnectionError(f"No node of the cluster knows who holds the queue: {error}") from error
        self._known = owners
        return owners[0]

    def ask_last(self, node: tuple[str, int]) -> None:
        """Ask every other node first: cut off from its cluster, this one takes itself for the owner still."""
        self._known = [one for one in (*self._known, *self._seeds) if one != node] + [node]

    async def _ask(self, node: tuple[str, int]) -> list[tuple[str, int]]:
        """The owner of our slot, and then all nodes that own any, by what this one says."""
        connection = self._connection_class(host=node[0], port=node[1], **self._options)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            await connection.send_command("CLUSTER", "SLOTS")
            ranges = await connection.read_response()
        finally:
            await connection.disconnect(nowait=True)
        owners = {(start, end): _address(master, node) for start, end, master, *_ in ranges}
        for (start, end), owner in owners.items():
            if start <= _SLOT <= end:
                return [owner, *owners.values()]
        raise RedisConnectionError("slots of the cluster are assigned to no node")


def _address(named: Sequence[Any], asked: tuple[str, int]) -> tuple[str, int]:
    """A node that does not know its own name is the one that was asked."""
    return named[0].decode() if named[0] else asked[0], named[1]


class ClusterConnection(Connection):
    """A connection to the owner, whichever node that is at the time; to be used again only while it stays."""

    def __init__(self, *, nodes: ClusterNodes, **options: Any) -> None:
        super().__init__(**options)
        self._nodes = nodes

    async def connect(self) -> None:
        """Connect to the owner, unless this is connected."""
        if not self.is_connected:
            self.host, self.port = await self._nodes.find_owner()
        await super().connect()  # type: ignore[no-untyped-call]

    async def read_response(self, *positional: Any, **named: Any) -> Any:
        """A node that is not the owner any more is left, and the command is answered as by a server that went away."""
        try:
            return await super().read_response(*positional, **named)
        except ResponseError as error:
            if not str(error).startswith(_ELSEWHERE):
                raise
            self._nodes.ask_last((self.host, self.port))
            await self.disconnect(nowait=True)
            raise RedisConnectionError(f"The queue is on another node of the cluster: {error}") from error


class ClusterSSLConnection(ClusterConnection, SSLConnection):
    """The same with TLS."""
