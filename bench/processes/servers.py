"""The processes under test, started as in production, and the receiver."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import redis

from bench.measurement.client_baseline import ClientBaseline
from bench.measurement.databases import BenchDatabase
from bench.measurement.profiling import Profiler
from bench.plan import LoadPlan, LoadResult
from tests.support.polling import eventually_blocking
from tests.support.ports import free_port
from tests.support.processes import ROOT, start, stop
from tests.support.valkey import ValkeyServer

_STARTS_WITHIN_SECONDS = 30


class ReceiverProcess:
    """The receiver on several loopback addresses, in a process of its own."""

    def __init__(self, hosts: int) -> None:
        self.hosts = [f"127.0.{number // 250}.{number % 250 + 2}" for number in range(hosts)]
        self.port = free_port()
        self._launch("bench.processes.receiver", str(self.port), *self.hosts)

    def _launch(self, module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", module, *arguments]
        self._process = start(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._read_line()

    @property
    def pid(self) -> int:
        return self._process.pid

    def count(self) -> int:
        """How many requests have arrived since the last reset."""
        return int(self._ask("count"))

    def connections(self) -> int:
        """How many connections were made to it since the last reset."""
        return int(self._ask("connections"))

    def reset(self) -> None:
        self._ask("reset")

    def dump(self, path: Path) -> Path:
        """Have the receipts written to a file."""
        self._ask(f"dump {path}")
        return path

    def stop(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        stop(self._process)

    def _ask(self, command: str) -> str:
        if self._process.stdin is None:
            raise RuntimeError("the receiver takes no commands")
        self._process.stdin.write(f"{command}\n".encode())
        self._process.stdin.flush()
        return self._read_line()

    def _read_line(self) -> str:
        line = self._process.stdout.readline() if self._process.stdout is not None else b""
        if not line:
            raise RuntimeError("the receiver has ended")
        return line.decode().strip()


class Servers:
    """Valkey, the API and the workers, on a database that runs already and is migrated here."""

    def __init__(
        self,
        directory: Path,
        database: BenchDatabase,
        profiler: Profiler,
        *,
        settings: tuple[str, ...],
        launcher: Sequence[str] = (),
    ) -> None:
        """`launcher`: options for Python before `-m`, with which each process is started."""
        self._launcher = launcher
        self._directory = directory
        self._profiler = profiler
        valkey_directory = directory / "valkey"
        valkey_directory.mkdir()
        self._valkey = ValkeyServer(valkey_directory)
        self.environment = {
            "SENDOFF_DATABASE_URL": database.url,
            "SENDOFF_REDIS_URL": self._valkey.url,
            "SENDOFF_SECRET_KEYS": "bench" * 8,
            "SENDOFF_STORAGE_URL": f"file://{directory}/uploads",
            "SENDOFF_DANGEROUSLY_ALLOW_NETWORKS": "127.0.0.0/8",
            "SENDOFF_DANGEROUSLY_ALLOW_HTTP": "true",
            **dict(setting.split("=", 1) for setting in settings),
        }
        self.api_port = free_port()
        self._api: subprocess.Popen[bytes] | None = None
        self._workers: list[subprocess.Popen[bytes]] = []
        self._redis: redis.Redis = redis.Redis.from_url(self._valkey.url)

    @property
    def api_pids(self) -> list[int]:
        return [self._api.pid] if self._api is not None else []

    @property
    def worker_pids(self) -> list[int]:
        return [worker.pid for worker in self._workers]

    @property
    def valkey_pids(self) -> list[int]:
        return [int(self.redis_info("server")["process_id"])]

    def redis_info(self, section: str) -> dict[str, Any]:
        """Valkey's account of itself; asking is one command."""
        return cast("dict[str, Any]", self._redis.info(section))

    def start(self) -> None:
        """Migrate, then start Valkey and the API."""
        self._valkey.start()
        migration = self._start("sendoff.cli", "migrate")
        if migration.wait(60) != 0:
            raise RuntimeError(f"sendoff migrate failed:\n{self.log('sendoff.cli')}")
        self._api = self._start("api", "--port", str(self.api_port))
        eventually_blocking(self._api_answers, within=_STARTS_WITHIN_SECONDS, what=lambda: self.log("api"))
        self._profiler.watch("api", self._api.pid)

    def start_workers(self, number: int) -> None:
        """Start `number` workers at once and wait until each is ready."""
        started = [self._start_worker() for _ in range(number)]
        for worker, reading_end in started:
            with os.fdopen(reading_end, "rb") as ready:
                if not ready.read(1):
                    raise RuntimeError(f"the worker does not start:\n{self.log('worker')}")
            self._profiler.watch("worker", worker.pid)

    def _start_worker(self) -> tuple[subprocess.Popen[bytes], int]:
        return self._start_ready("worker")

    def _start_ready(self, module: str, *arguments: str) -> tuple[subprocess.Popen[bytes], int]:
        """A worker, and the descriptor where it says that it is ready."""
        reading_end, writing_end = os.pipe()
        worker = self._start(module, *arguments, ready_descriptor=writing_end)
        self._workers.append(worker)
        os.close(writing_end)
        return worker, reading_end

    def stop_workers(self) -> None:
        """Let the workers drain and end."""
        for worker in self._workers:
            stop(worker, within=30)
        self._workers = []

    def stop(self) -> None:
        self.stop_workers()
        if self._api is not None:
            stop(self._api, within=30)
        self._redis.close()
        self._valkey.stop()

    def log(self, name: str) -> str:
        """The end of what a process said."""
        path = self._directory / f"{name}.log"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""

    def _start(self, module: str, *arguments: str, ready_descriptor: int | None = None) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SENDOFF_")}
        environment |= self.environment
        descriptors = [] if ready_descriptor is None else [ready_descriptor]
        if ready_descriptor is not None:
            environment["SENDOFF_READY_FD"] = str(ready_descriptor)
        command = [sys.executable, *self._launcher, *self._profiler.python_options(module), "-m", module, *arguments]
        with (self._directory / f"{module}.log").open("ab") as log:
            return start(command, cwd=ROOT, env=environment, stdout=log, stderr=log, pass_fds=descriptors)

    def _api_answers(self) -> bool:
        if self._api is not None and self._api.poll() is not None:
            raise RuntimeError(f"the API does not start:\n{self.log('api')}")
        try:
            socket.create_connection(("127.0.0.1", self.api_port), timeout=1).close()
        except OSError:
            return False
        return True


def run_load(plan: LoadPlan, directory: Path) -> LoadResult:
    """Run the load generator to its end."""
    return LoadResult(**_run_to_json("bench.processes.load_generator", plan.save(directory / "plan.json")))


def run_client_baseline(
    receiver: ReceiverProcess, *, seconds: float, concurrency: int, body_bytes: int
) -> ClientBaseline:
    """Measure the bare client against the receiver."""
    module = "bench.measurement.client_baseline"
    return ClientBaseline(**_run_to_json(module, receiver.port, seconds, concurrency, body_bytes, *receiver.hosts))


def _run_to_json(module: str, *arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    process = start(command, cwd=ROOT, stdout=subprocess.PIPE)
    output, _ = process.communicate(timeout=300)
    if process.returncode != 0:
        raise RuntimeError(f"{module} failed with exit code {process.returncode}")
    found: dict[str, Any] = json.loads(output)
    return found
