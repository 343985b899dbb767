"""Thousands of hours of faults in minutes: nothing is lost, nothing is stuck, nothing known to be delivered is resent.

`CHAOS_SEEDS` sets how many seeds the long form lives through, `CHAOS_SEED` the first of them.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.processes import ROOT

SEEDS = int(os.environ.get("CHAOS_SEEDS", "1000"))
FIRST = int(os.environ.get("CHAOS_SEED", "0"))


def simulate(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.simulation", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("first", "count"), [(0, 5), pytest.param(FIRST, SEEDS, marks=pytest.mark.chaos)], ids=["short", "long"]
)
def test_no_seed_violates_an_invariant(first: int, count: int) -> None:
    done = simulate("--seed", str(first), "--count", str(count))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("defect", "seeds"), [("sweeper", 5), ("twice", 5), pytest.param("lease", 1_000, marks=pytest.mark.chaos)]
)
def test_a_protection_that_is_taken_out_is_missed(defect: str, seeds: int) -> None:
    done = simulate("--count", str(seeds), "--defect", defect)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.startswith("seed ")


def test_the_same_seed_lives_the_same_life() -> None:
    told = [simulate("--count", "5", "--defect", "twice").stdout for _ in range(2)]
    assert told[0] == told[1]
