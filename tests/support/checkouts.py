"""Older versions of the product, out of the history of this checkout."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sendoff.store.engine.revisions import MIGRATIONS, newest_revision
from tests.support.processes import ROOT


def check_out(commit: str, folder: Path) -> Path:
    """Lay the commit's files into a new folder; skips the test when the history does not hold it."""
    done = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True)
    if done.returncode != 0:
        pytest.skip("the history of this checkout does not hold the version before")
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=done.stdout, check=True)
    return folder


def check_out_version_before(folder: Path) -> str:
    """Lay the newest commit without the newest migration into a new folder; returns the revision that it runs on."""
    versions = MIGRATIONS.relative_to(ROOT) / "versions"
    [newest] = (ROOT / versions).glob(f"{newest_revision()}_*.py")
    command = ["git", "log", "-1", "--diff-filter=A", "--format=%H^", "--", str(newest)]
    added = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    check_out(added or "HEAD", folder)  # it may not be committed yet
    return max(path.name for path in (folder / versions).glob("[0-9]*.py")).partition("_")[0]
