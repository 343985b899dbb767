"""The files to copy: their commands, settings and times are those of the product."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sendoff.settings import Settings
from tests.support.processes import ROOT

CONTRIB = ROOT / "contrib"
UNITS = sorted((CONTRIB / "systemd").glob("*.service"))
FILES = sorted(path for path in CONTRIB.rglob("*") if path.is_file())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_setting_named_exists(file: Path) -> None:
    named = {name.removeprefix("SENDOFF_").lower() for name in re.findall(r"SENDOFF_[A-Z_]+", file.read_text())}
    assert named <= set(Settings.model_fields)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_is_valid_and_gives_its_process_time_to_stop(unit: Path, tmp_path: Path) -> None:
    text = unit.read_text()
    [seconds] = re.findall(r"^TimeoutStopSec=(\d+)$", text, re.M)
    assert int(seconds) >= Settings.model_fields["shutdown_grace_seconds"].default + 10
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed here")
    # The user and the program are the machine's that it is copied to.
    name = unit.name.replace("@.", "@1.")
    (tmp_path / name).write_text(text.replace("/opt/sendoff/bin/sendoff", shutil.which("true") or "/bin/true"))
    done = subprocess.run([program, "verify", "--man=no", tmp_path / name], capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if name in line]
    assert complaints == []


def test_proxies_close_idle_connections_before_the_api_does() -> None:
    keep_alive = Settings.model_fields["keep_alive_seconds"].default
    for file, pattern in (("nginx.conf", r"keepalive_timeout (\d+)s"), ("Caddyfile", r"keepalive (\d+)s")):
        [seconds] = re.findall(pattern, (CONTRIB / "proxy" / file).read_text())
        assert int(seconds) < keep_alive
