"""The installation that the demo runs on: `sendoff up` in a temporary directory, as anybody would start it."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sendoff.cli.demo.narrator import Narrator
from sendoff.cli.demo.watching import DidNotHappen
from sendoff.cli.local_stack.processes import tie_to_this_process

RETRY_SCHEDULE = "1s,1s,2s,2s,3s"

_READY_WITHIN_SECONDS = 60
_STOPS_WITHIN_SECONDS = 45
_SETTINGS = {
    "SENDOFF_DANGEROUSLY_ALLOW_NETWORKS": "127.0.0.0/8",
    "SENDOFF_DANGEROUSLY_ALLOW_HTTP": "true",
    "SENDOFF_RETRY_SCHEDULE": RETRY_SCHEDULE,
    "SENDOFF_LOG_LEVEL": "warning",
}


@dataclass(frozen=True, slots=True)
class DemoInstallation:
    """A running `sendoff up`: its URL and its data directory."""

    url: str
    data: Path


@contextmanager
def run_installation(narrator: Narrator) -> Iterator[DemoInstallation]:
    """Start it, and at the end of the block stop it and remove all it wrote. Raises DidNotHappen.

    What it logs is shown only if something goes wrong: it would interrupt the story.
    """
    narrator.chapter("Start: Valkey, SQLite, the API and a worker, in a temporary directory")
    narrator.say(
        f"For the demo only: receivers on 127.0.0.1 over plain http are allowed, retries wait {RETRY_SCHEDULE}."
    )
    with tempfile.TemporaryDirectory(prefix="sendoff-demo-") as data:
        process = _start(data)
        try:
            url = _wait_until_ready(process)
            narrator.happened(f"`sendoff up` is ready at {url}")
            yield DemoInstallation(url, Path(data))
        except BaseException:
            _stop(process)
            sys.stderr.write(_log(data).read_text(errors="replace"))
            raise
        narrator.chapter("Stop")
        exit_code = _stop(process)
        if exit_code != 0:
            raise DidNotHappen(f"`sendoff up` ended with exit code {exit_code} instead of 0.")
        narrator.happened("The API stopped, the worker drained, Valkey ended; nothing is left running")


def _start(data: str) -> subprocess.Popen[str]:
    with _log(data).open("wb") as log:
        return subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-P", "-m", "sendoff.cli", "up", "--port", "0", "--data", data],
            env=os.environ | _SETTINGS,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,  # Ctrl-C is for the demo, which then stops it
            preexec_fn=tie_to_this_process(signal.SIGTERM),  # noqa: PLW1509 - the demo has one thread
        )


def _log(data: str) -> Path:
    return Path(data, "up.log")


def _wait_until_ready(process: subprocess.Popen[str]) -> str:
    if process.stdout is None:
        raise RuntimeError("the process was started without a pipe")
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if not selector.select(_READY_WITHIN_SECONDS):
            raise DidNotHappen(f"`sendoff up` was not ready within {_READY_WITHIN_SECONDS} s.")
    line = process.stdout.readline().strip()
    if not line.startswith("ready "):
        raise DidNotHappen("`sendoff up` did not start; what it said is above.")
    return line.removeprefix("ready ")


def _stop(process: subprocess.Popen[str]) -> int:
    process.terminate()
    try:
        process.communicate(timeout=_STOPS_WITHIN_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()  # what it had started ends with it
        process.communicate()
    return process.returncode
