"""The receivers' packages, each by its own toolchain, against the same test vectors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import sendoff
from tests.support.processes import ROOT

PACKAGES = ROOT / "packages"

BUILD = """
import sys
from hatchling.build import build_sdist, build_wheel
print((build_sdist if sys.argv[1] == "sdist" else build_wheel)(sys.argv[2]))
"""
CHECK_VECTORS = """
import json, sys
from sendoff_verify import VerificationError, branded, verify

forms = {"text": str, "parsed": json.loads, "null": lambda text: None}
vectors = json.load(open(sys.argv[1], encoding="utf-8"))["vectors"]
for vector in vectors:
    scheme = branded(vector["brand"], scheme=vector["scheme"]) if "brand" in vector else vector["dialect"]
    body = forms[vector["body_as"]](vector["body"]) if "body_as" in vector else vector["body"].encode()
    try:
        event = verify(scheme, vector["headers"], body, vector["secrets"], now=vector["now"])
        result = event["type"] if event["id"] == vector.get("id") else event
    except VerificationError as error:
        result = str(error.problem)
    except ValueError:
        result = "mistake"
    expected = "mistake" if vector.get("mistake") else vector.get("type") or vector["problem"]
    assert result == expected, (vector["name"], result, expected)
print(len(vectors), sorted({name.partition(".")[0] for name in sys.modules} & {"sendoff", "cryptography"}))
"""


@pytest.mark.parametrize(
    ("package", "command"),
    [("javascript", ["node", "--test"]), ("go", ["go", "test", "./..."])],
    ids=["javascript", "go"],
)
def test_a_package_passes_its_own_tests(package: str, command: list[str]) -> None:
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


def test_pythons_wheel_verifies_every_vector_in_an_empty_environment(tmp_path: Path) -> None:
    sdist = _build("sdist", PACKAGES / "python", tmp_path)
    subprocess.run(["tar", "-xzf", sdist, "-C", tmp_path], check=True)
    # From the source distribution alone: the link to the product's package is a folder there.
    wheel = _build("wheel", tmp_path / sdist.name.removesuffix(".tar.gz"), tmp_path)
    assert _files(wheel) == _files(_build("wheel", PACKAGES / "python", tmp_path / "from-checkout"))
    environment = tmp_path / "environment"
    _run(sys.executable, "-m", "venv", "--without-pip", environment)
    python = environment / "bin" / "python"
    _run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps", wheel)
    vectors = ROOT / "docs" / "vectors.json"
    count = len(json.loads(vectors.read_text())["vectors"])
    assert _run(python, "-I", "-c", CHECK_VECTORS, vectors) == f"{count} []\n"


def test_pythons_package_is_typed_and_has_the_products_source() -> None:
    source = PACKAGES / "python" / "src" / "sendoff_verify"
    assert source.resolve() == ROOT / "sendoff" / "verify"
    assert (source / "py.typed").exists()


def test_the_packages_have_no_dependencies_the_products_version_and_its_license() -> None:
    manifest = json.loads((PACKAGES / "javascript" / "package.json").read_text())
    project = tomllib.loads((PACKAGES / "python" / "pyproject.toml").read_text())["project"]
    assert manifest["version"] == project["version"] == sendoff.__version__
    assert not {"dependencies", "devDependencies", "peerDependencies"} & manifest.keys()
    assert project["dependencies"] == []
    assert "require" not in (PACKAGES / "go" / "go.mod").read_text()
    for package in ("python", "javascript", "go"):
        assert (PACKAGES / package / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def _build(kind: str, project: Path, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder / _run(sys.executable, "-c", BUILD, kind, folder, cwd=project).strip().splitlines()[-1]


def _files(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _run(*command: object, cwd: Path | None = None) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
