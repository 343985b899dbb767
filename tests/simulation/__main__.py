"""`python -m tests.simulation [--seed N] [--count N] [--defect NAME]`; exit code 1 at the first violation."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

from tests.simulation.defects import DEFECTS
from tests.simulation.run import make_template, silence, simulate
from tests.simulation.world import Violation


def main() -> int:
    """Simulate one seed after another, and say how much was simulated, or what was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=100, help="how many seeds")
    parser.add_argument("--defect", choices=sorted(DEFECTS), help="a protection of the engine to take out")
    options = parser.parse_args()
    silence()
    began, simulated, deliveries = time.process_time(), 0.0, 0
    memory = Path("/dev/shm")  # noqa: S108 - the database need not outlive the run
    planted = DEFECTS[options.defect]() if options.defect else nullcontext()
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name, planted:
        template = make_template(Path(name))
        for seed in range(options.seed, options.seed + options.count):
            try:
                world = simulate(template, seed, Path(name))
            except Violation as violation:
                sys.stdout.write(f"{violation}\n")
                return 1
            simulated += world.loop.now
            deliveries += len(world.accepted)
    took = time.process_time() - began
    sys.stdout.write(
        f"{options.count} seeds, {simulated / 3600:.1f} hours, {deliveries} deliveries "
        f"in {took:.0f} s of CPU time: no violation\n"
    )
    return 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Or the order of sets would differ, and a seed would live another life.
        command = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, "PYTHONHASHSEED": "0"})  # noqa: S606 - this very program
    sys.exit(main())
