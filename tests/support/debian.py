"""Programs of Debian's packages that tests need and nobody has to install: root gets them when they are missing."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

_INSTALL_SECONDS = 240


def find_program(*names: str, package: str) -> str | None:
    """The path of the first of these programs that is there; None if there is none and it cannot be installed."""
    found = _find(names)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        _install(names, package)
        found = _find(names)
    return found


def _find(names: tuple[str, ...]) -> str | None:
    # Servers are in /usr/sbin, which is not on everybody's path.
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"
    return next((found for name in names if (found := shutil.which(name, path=path))), None)


def _install(names: tuple[str, ...], package: str) -> None:
    """In one test process at a time. Without a network it stays missing."""
    options = ["-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with (Path(tempfile.gettempdir()) / f"sendoff-{package}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _find(names) is not None:
            return
        for command in (["update", "-qq"], ["install", "-qq", "--no-install-recommends", package, "-y"]):
            try:
                subprocess.run(
                    ["apt-get", *options, *command], env=environment, capture_output=True, timeout=_INSTALL_SECONDS
                )
            except subprocess.TimeoutExpired:
                return
