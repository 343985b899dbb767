"""`python -m tests.simulation [--seed N] [--count N] [--jobs N] [--defect NAME] [--database file]`.

Exit code 1 at the first violation, with its seed and the command that repeats it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.defects import DEFECTS
from tests.simulation.run import Report, simulate_all

SEEDS_TOGETHER = 50
"""Seeds that a process simulates for one report. More, and processes end at different times."""


def main() -> int:
    """Simulate one seed after another, and say how much was simulated, or what was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=100, help="how many seeds")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many processes at most")
    parser.add_argument("--defect", choices=sorted(DEFECTS), help="a protection of the engine to take out")
    parser.add_argument(
        "--database", choices=("memory", "file"), default="memory", help="file: as the product opens it, and slower"
    )
    options = parser.parse_args()
    began, total = time.monotonic(), Report()
    for report in _reports(options):
        total.add(report)
        if report.violation is not None:
            sys.stdout.write(f"{report.violation}\n{_command(options, options.seed + total.seeds)}\n")
            return 1
    sys.stdout.write(
        f"{total.seeds} seeds, {total.faults} faults, {total.seconds / 3600:.1f} hours, {total.deliveries} deliveries "
        f"in {time.monotonic() - began:.0f} s ({total.cpu_seconds:.0f} s of CPU time): no violation\n"
    )
    return 0


def _reports(options: argparse.Namespace) -> Iterator[Report]:
    """The reports in the order of the seeds, whichever process makes them."""
    seeds = range(options.seed, options.seed + options.count)
    batches = [seeds[at : at + SEEDS_TOGETHER] for at in range(0, len(seeds), SEEDS_TOGETHER)]
    jobs = min(options.jobs, len(batches))
    if jobs <= 1:
        yield from (simulate_all(batch, options.defect, options.database) for batch in batches)
        return
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
    try:
        for future in [pool.submit(simulate_all, batch, options.defect, options.database) for batch in batches]:
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _command(options: argparse.Namespace, seed: int) -> str:
    defect = f" --defect {options.defect}" if options.defect else ""
    database = "" if options.database == "memory" else f" --database {options.database}"
    return f"repeat it with: python -m tests.simulation --seed {seed} --count 1{defect}{database}"


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Or the order of sets would differ, and a seed would live another life.
        command = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, "PYTHONHASHSEED": "0"})  # noqa: S606 - this very program
    sys.exit(main())
