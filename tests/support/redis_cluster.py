"""A real Valkey Cluster for tests."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import redis

from tests.support.polling import eventually_blocking
from tests.support.ports import free_port
from tests.support.processes import start, stop
from tests.support.valkey import find_server

_SLOTS = 16_384


class RedisCluster:
    """Three masters on 127.0.0.1, each with a third of the slots."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.ports = [free_port() for _ in range(3)]
        self._buses = [free_port() for _ in self.ports]
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        """As the setting `REDIS_URL` takes it."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in self.ports)

    def start(self) -> None:
        """Start the nodes, and wait until each says that the cluster is complete."""
        for port, bus in zip(self.ports, self._buses, strict=True):
            folder = self._directory / str(port)
            folder.mkdir()
            options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
            options += ["--cluster-enabled", "yes", "--cluster-port", str(bus)]
            self._processes.append(start([find_server(), *options], stdout=subprocess.DEVNULL))
        eventually_blocking(self._answers, within=15, what="all nodes answer")
        bounds = [_SLOTS * number // 3 for number in range(4)]
        for number, port in enumerate(self.ports):
            self._run(port, "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
            self._run(self.ports[0], "MEET", "127.0.0.1", port, self._buses[number])
        eventually_blocking(self._is_complete, within=30, what="a complete cluster")

    def stop(self) -> None:
        for process in self._processes:
            stop(process)

    def move(self, slot: int) -> None:
        """Give the slot with its keys to another node, as resharding does."""
        owner = next(port for port in self.ports if self._owns(port, slot))
        target = self.ports[self.ports.index(owner) - 1]
        names = {port: self._run(port, "MYID") for port in self.ports}
        self._run(target, "SETSLOT", slot, "IMPORTING", names[owner])
        self._run(owner, "SETSLOT", slot, "MIGRATING", names[target])
        while keys := self._run(owner, "GETKEYSINSLOT", slot, 1000):
            with redis.Redis(port=owner) as node:
                node.execute_command("MIGRATE", "127.0.0.1", target, "", 0, 5000, "KEYS", *keys)
        for port in (target, owner, *self.ports):
            self._run(port, "SETSLOT", slot, "NODE", names[target])

    def _run(self, port: int, *command: str | int) -> Any:
        with redis.Redis(port=port, decode_responses=True) as node:
            return node.execute_command("CLUSTER", *command)

    def _answers(self) -> bool:
        try:
            return all(self._run(port, "MYID") for port in self.ports)
        except redis.ConnectionError:
            return False

    def _is_complete(self) -> bool:
        return all("cluster_state:ok" in self._run(port, "INFO") for port in self.ports)

    def _owns(self, port: int, slot: int) -> bool:
        name = self._run(port, "MYID")
        return any(first <= slot <= last and name in master for first, last, master, *_ in self._run(port, "SLOTS"))
