"""The receivers' packages in other languages, each by its own toolchain, against the same test vectors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

import sendoff
from tests.support.processes import ROOT

PACKAGES = ROOT / "packages"


@pytest.mark.parametrize(
    ("package", "command"),
    [("javascript", ["node", "--test"]), ("go", ["go", "test", "./..."])],
    ids=["javascript", "go"],
)
def test_a_package_passes_its_own_tests(package: str, command: list[str], tmp_path: Path) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed here")
    offline = {"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    done = subprocess.run(
        command,
        cwd=PACKAGES / package,
        env=os.environ | offline,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_packages_have_no_dependencies_and_the_products_version() -> None:
    manifest = json.loads((PACKAGES / "javascript" / "package.json").read_text())
    assert manifest["version"] == sendoff.__version__
    assert not {"dependencies", "devDependencies", "peerDependencies"} & manifest.keys()
    assert "require" not in (PACKAGES / "go" / "go.mod").read_text()
