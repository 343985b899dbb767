"""Snapshots of everything that is counted, and the difference between two of them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from bench.measurement.accounting import ProcessTable, machine_busy_seconds
from bench.measurement.calibration import NoiseMeter
from bench.measurement.databases import Asked, BenchDatabase
from bench.processes.servers import ReceiverProcess, Servers

PARTS = ("api", "worker", "database", "valkey")
"""The product's processes; what the receiver and the load generator use is not the product's."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Totals so far."""

    at: float
    cpu: dict[str, float]
    machine: float
    redis_commands: int
    asked: Asked | None


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used between two snapshots. CPU times are seconds."""

    seconds: float
    cpu: dict[str, float]
    elsewhere: float
    """CPU time that neither the product nor the receiver used: the load generator, this program, other people."""
    redis_commands: int
    asked: Asked | None
    calibration_ms: float
    """What the calibration loop took meanwhile."""


@dataclass
class Meter:
    """Reads the counters of one installation."""

    servers: Servers
    database: BenchDatabase
    receiver: ReceiverProcess
    noise: NoiseMeter
    peaks: dict[str, float] = field(default_factory=dict)

    @staticmethod
    def now() -> float:
        """Monotonic seconds, the same in every process."""
        return time.monotonic()

    async def read(self) -> Snapshot:
        """Everything that is counted, now."""
        return Snapshot(
            at=time.monotonic(),
            cpu=self._cpu(),
            machine=machine_busy_seconds(),
            redis_commands=int(self.servers.redis_info("stats")["total_commands_processed"]),
            asked=await self.database.asked(),
        )

    async def since(self, before: Snapshot) -> Usage:
        """What was used since `before`; also takes note of the memory."""
        now = await self.read()
        table = ProcessTable()
        for part, pids in self._pids().items():
            self.peaks[part] = max(self.peaks.get(part, 0.0), table.peak_memory(pids))
        cpu = {part: now.cpu[part] - before.cpu[part] for part in now.cpu}
        return Usage(
            seconds=now.at - before.at,
            cpu=cpu,
            elsewhere=now.machine - before.machine - sum(cpu.values()),
            # This reading is one command itself.
            redis_commands=now.redis_commands - before.redis_commands - 1,
            asked=now.asked.since(before.asked) if now.asked and before.asked else None,
            calibration_ms=self.noise.since(before.at),
        )

    def resident_memory(self) -> dict[str, float]:
        """The largest process of each part, in MiB."""
        table = ProcessTable()
        return {part: table.resident_memory(pids) for part, pids in self._pids().items()}

    def _pids(self) -> dict[str, list[int]]:
        return {
            "api": self.servers.api_pids,
            "worker": self.servers.worker_pids,
            "database": self.database.pids,
            "valkey": self.servers.valkey_pids,
        }

    def _cpu(self) -> dict[str, float]:
        table = ProcessTable()
        used = {part: table.cpu_seconds(pids) for part, pids in self._pids().items()}
        if self.database.observer_pid is not None:
            used["database"] -= table.own_cpu_seconds(self.database.observer_pid)
        return used | {"receiver": table.cpu_seconds([self.receiver.pid])}
