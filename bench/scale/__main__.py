"""`python -m bench.scale`: run the experiments, print their sections, put them into SCALE.md."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from bench.measurement.calibration import calibrate
from bench.scale.experiments.backlog import measure_backlog
from bench.scale.experiments.endpoints import measure_endpoints
from bench.scale.experiments.fanout import measure_fanout
from bench.scale.experiments.history import measure_history
from bench.scale.experiments.pages import measure_pages
from bench.scale.experiments.partitions import measure_partitions
from bench.scale.experiments.replays import measure_replays
from bench.scale.experiments.retention import measure_retention
from bench.scale.experiments.router import measure_router
from bench.scale.experiments.waiting import measure_waiting
from bench.scale.experiments.workers import measure_workers
from bench.scale.options import ScaleOptions, parse_scale_options
from bench.scale.report import describe_run, read_sections, render

RESULTS = Path(__file__).parents[1] / "SCALE.md"

_EXPERIMENTS: dict[str, Callable[[ScaleOptions, Path], Coroutine[Any, Any, str]]] = {
    "workers": measure_workers,
    "endpoints": measure_endpoints,
    "fanout": measure_fanout,
    "backlog": measure_backlog,
    "history": measure_history,
    "waiting": measure_waiting,
    "retention": measure_retention,
    "partitions": measure_partitions,
    "pages": measure_pages,
    "replays": measure_replays,
    "router": measure_router,
}


def main() -> int:
    """Measure and report, each experiment as soon as it is done. 1 when one failed; its old section stays."""
    options = parse_scale_options()
    # So that the processes are stopped and the directory is removed.
    signal.signal(signal.SIGTERM, lambda _signal, _frame: sys.exit(1))
    command = shlex.join(["python", "-m", "bench.scale", *sys.argv[1:]])
    failed = False
    for name in options.only:
        sys.stderr.write(f"{time.strftime('%H:%M:%S')}  {name}\n")
        try:
            section = _run(name, options, command)
        except (RuntimeError, AssertionError) as error:
            sys.stderr.write(f"{name} did not complete: {error}\n")
            failed = True
        else:
            sys.stdout.write(render({name: section}))
            if options.write:
                before = read_sections(RESULTS.read_text()) if RESULTS.exists() else {}
                RESULTS.write_text(render(before | {name: section}))
    return 1 if failed else 0


def _run(name: str, options: ScaleOptions, command: str) -> str:
    calibration, started = calibrate(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sendoff-scale-") as directory:
        Path(directory).chmod(0o755)
        body = asyncio.run(_EXPERIMENTS[name](options, Path(directory)))
    return describe_run(command, body, calibration_ms=calibration, seconds=time.monotonic() - started)


if __name__ == "__main__":
    sys.exit(main())
