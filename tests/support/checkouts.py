"""Older versions of the product, out of the history of this checkout."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.support.processes import ROOT


def check_out(commit: str, folder: Path) -> Path:
    """Lay the commit's files into a new folder; skips the test when the history does not hold it."""
    done = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True)
    if done.returncode != 0:
        pytest.skip("the history of this checkout does not hold the version before")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder
