"""Where the generators and linters are: what `make client-tools` installed, or what is on the PATH."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.processes import ROOT

FOLDER = ROOT / ".tools"
_LONGEST_SECONDS = 300
"""A generator, compiler or program that takes longer has failed; Maven takes a minute on an idle machine."""


def find_tool(name: str) -> str:
    """The path of a program. Skips the test where there is none."""
    places = [FOLDER / "python" / "bin", FOLDER / "node_modules" / ".bin", FOLDER / "bin"]
    path = os.pathsep.join([*map(str, places), os.environ.get("PATH", "")])
    found = shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"{name} is not installed here; `make client-tools` installs it")
    return found


def find_jar(pattern: str) -> Path:
    """The newest jar of that name. Skips the test where there is none."""
    found = sorted(FOLDER.glob(pattern))
    if not found:
        pytest.skip(f"{pattern} is not here; `make client-tools` brings it")
    return found[-1]


def run(*command: str | Path, folder: Path, environment: Mapping[str, str] | None = None) -> str:
    """What the command prints. Fails with everything it said unless it succeeds."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=_LONGEST_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout[-4_000:]}\n{done.stderr[-4_000:]}"
    return done.stdout
