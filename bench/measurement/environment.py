"""The machine under a run: its speed, what the receiver can take, and what the bare client can send."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from bench.measurement.accounting import ProcessTable
from bench.measurement.calibration import calibrate
from bench.measurement.client_baseline import ClientBaseline
from bench.options import BenchOptions
from bench.plan import LoadPlan
from bench.processes.servers import ReceiverProcess, run_client_baseline, run_load

_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Environment:
    """CPU times are microseconds for each request, of the process that is named."""

    calibration_ms: float
    receiver_per_second: float
    receiver_cpu_us: float
    client_baseline: ClientBaseline


def measure_environment(options: BenchOptions, directory: Path) -> Environment:
    """Everything that is measured without Sendoff."""
    calibration = calibrate()
    receiver = ReceiverProcess(options.hosts)
    try:
        per_second, cpu_us = _ceiling(receiver, options, directory)
        client_baseline = run_client_baseline(
            receiver, seconds=_SECONDS, concurrency=options.connections, body_bytes=options.payload + 150
        )
    finally:
        receiver.stop()
    return Environment(calibration, per_second, cpu_us, client_baseline)


def describe_machine() -> str:
    """Cores, processor, Python."""
    return (
        f"{os.cpu_count()} cores ({_processor()}), {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def _ceiling(receiver: ReceiverProcess, options: BenchOptions, directory: Path) -> tuple[float, float]:
    body = "x" * options.payload
    head = (
        f"POST /hook HTTP/1.1\r\nHost: {receiver.hosts[0]}\r\nContent-Length: {len(body)}\r\n"
        f"X-OptimalDial-Event-Id: evt_{'0' * 24}\r\n\r\n"
    )
    plan = LoadPlan(
        host=receiver.hosts[0],
        port=receiver.port,
        heads=[head],
        bodies=[body],
        expect=200,
        connections=options.connections,
        seconds=_SECONDS,
        most=10_000_000,
    )
    before = ProcessTable().cpu_seconds([receiver.pid])
    outcome = run_load(plan, directory)
    used = ProcessTable().cpu_seconds([receiver.pid]) - before
    return outcome.per_second, used / outcome.answered * 1e6


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or "unknown processor")
