"""The wheel, as `pip install` unpacks it: its commands run from an empty directory, without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import httpx
import pytest

import sendoff
from tests.integration.cli.installation import assert_nothing_runs_in
from tests.integration.cli.test_demo import temporary
from tests.support.polling import eventually_blocking
from tests.support.ports import free_port
from tests.support.processes import ROOT, start, stop

__all__ = ["temporary"]

# -S leaves out site-packages, and with it the checkout that is installed there; dependencies come by PYTHONPATH.
PYTHON = [sys.executable, "-S"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def environment(installed: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("SENDOFF_")}
    return kept | {"PYTHONPATH": os.pathsep.join([str(installed), sysconfig.get_path("platlib")])}


def build(kind: str, project: Path, folder: Path) -> Path:
    """The wheel or the source distribution (`sdist`) of the project, made in the folder."""
    script = f"import sys; from hatchling.build import build_{kind}; print(build_{kind}(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", script, folder], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.strip().splitlines()[-1]


def command(*arguments: str) -> list[str]:
    return [*PYTHON, "-m", "sendoff.cli", *arguments]


def test_the_wheel_has_one_top_level_package_and_its_papers(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("/METADATA"))).decode()
    version = sendoff.__version__
    assert {name.partition("/")[0] for name in names} == {"sendoff", f"sendoff-{version}.dist-info"}
    assert {"sendoff/api/__main__.py", "sendoff/worker/__main__.py", "sendoff/py.typed"} <= set(names)
    assert f"\nVersion: {version}\n" in metadata
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert "version" not in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_source_distribution_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    # A folder that a link leads to, too, is packed at the place that is met first and nowhere else.
    archive = build("sdist", ROOT, tmp_path)
    subprocess.run(["tar", "-xzf", archive, "-C", tmp_path], check=True)
    again = build("wheel", tmp_path / archive.name.removesuffix(".tar.gz"), tmp_path / "again")
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(again) as second:
        assert sorted(first.namelist()) == sorted(second.namelist())
        assert all(first.read(name) == second.read(name) for name in first.namelist())


def test_the_demo_runs_from_an_empty_directory_and_leaves_nothing(
    tmp_path: Path, temporary: Path, environment: dict[str, str]
) -> None:
    # A real installation's settings must not be touched by it.
    real = {"SENDOFF_DATABASE_URL": "postgresql+asyncpg://real/one", "SENDOFF_REDIS_URL": "redis://real"}
    variables = environment | real | {"TMPDIR": str(temporary)}
    done = subprocess.run(
        command("demo"), cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for shown in ("ping", "upload.created", "1000/1000", "upload.completed", "attempt 6 of 6", "retries_exhausted"):
        assert shown in done.stdout
    assert "All of it happened" in done.stdout
    assert done.stderr == ""
    assert_nothing_runs_in(temporary)
    assert not [*temporary.iterdir(), *tmp_path.iterdir()]


def test_web_and_worker_run_from_an_empty_directory(
    tmp_path: Path, environment: dict[str, str], valkey_url: str
) -> None:
    environment |= {"SENDOFF_REDIS_URL": valkey_url, "SENDOFF_LOG_FORMAT": "json", "SENDOFF_LOG_LEVEL": "info"}
    migrated = subprocess.run(command("migrate"), cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert migrated.returncode == 0, migrated.stderr
    port = free_port()
    processes = [
        start(command(*arguments), cwd=tmp_path, env=environment)
        for arguments in (("web", "--port", str(port)), ("worker",))
    ]
    url = f"http://127.0.0.1:{port}"
    try:
        eventually_blocking(lambda: _get(f"{url}/ready") is not None, within=60, what="an API that is ready")
        health, metrics = _get(f"{url}/health"), _get(f"{url}/metrics")
        assert health is not None
        assert metrics is not None
        assert health.json() == {"status": "ok", "version": sendoff.__version__}
        assert "sendoff_build_info{" in metrics.text
        assert f'version="{sendoff.__version__}"' in metrics.text
    finally:
        exit_codes = [stop(process, within=40) for process in processes]
    assert exit_codes == [0, 0]


def _get(url: str) -> httpx.Response | None:
    try:
        response = httpx.get(url, trust_env=False)
    except httpx.TransportError:
        return None
    return response if response.status_code == 200 else None
