"""The image, without an engine that builds it: what it holds, and that its processes live on that, without rights."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from importlib.metadata import packages_distributions
from pathlib import Path

import httpx
import pytest

from sendoff.settings import Settings
from tests.support.polling import eventually_blocking
from tests.support.ports import free_port
from tests.support.processes import ROOT
from tests.support.receiver_process import ReceiverProcess
from tests.support.servers import Server
from tests.support.tenants import open_tenant

PAGE = (ROOT / "docs" / "how-to" / "run-the-image.md").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
TO_OWN_PLACE = re.compile(r"^COPY (\w+) /opt/sendoff/(\w+)$", re.MULTILINE)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """What the Dockerfile copies, where nobody may write."""
    ignored = (ROOT / ".dockerignore").read_text().split()
    everywhere = shutil.ignore_patterns(*(line.removeprefix("**/") for line in ignored if line.startswith("**/")))
    tree = tmp_path / "image"
    for source, target in TO_OWN_PLACE.findall(DOCKERFILE):
        assert f"!{source}" in ignored
        shutil.copytree(ROOT / source, tree / target, ignore=everywhere)
    _allow(tree, folders=0o555, files=0o444)
    yield tree
    _allow(tree, folders=0o755, files=0o644)


def test_the_image_holds_the_product_and_nothing_else(tree: Path) -> None:
    files = [path.relative_to(tree) for path in tree.rglob("*") if path.is_file()]
    assert {path.parts[0] for path in files} == {"sendoff", "api", "worker"}
    pages = {path for path in files if path.parts[:2] == ("api", "pages")}
    assert {path.suffix for path in set(files) - pages} == {".py", ".mako", ".typed"}
    assert {path.suffix for path in pages} == {".py", ".html", ".css", ".js", ".svg", ".txt", ".md"}
    assert not {part for path in files for part in path.parts} & {"tests", "__pycache__", ".sendoff"}


def test_file_modes_in_the_image_do_not_depend_on_the_checkout(tree: Path) -> None:
    [prepare] = re.findall(r"^RUN (chmod .*)$", DOCKERFILE, re.MULTILINE)
    command = prepare.replace("/opt/sendoff", str(tree)).replace("python ", f"{sys.executable} ")
    for folders, files in ((0o700, 0o600), (0o777, 0o666)):
        _allow(tree, folders=folders, files=files)
        subprocess.run(["sh", "-euc", f"umask 022; {command}"], check=True, cwd=tree)
        assert {path.stat().st_mode & 0o777 for path in tree.rglob("*")} == {0o755, 0o644}
    sources, compiled = (len(list(tree.rglob(f"*{suffix}"))) for suffix in (".py", ".pyc"))
    assert compiled == sources > 0


def test_the_image_contains_every_imported_package() -> None:
    brought, with_brokers = _brought_by("run"), _brought_by("brokers")
    own = {target for _, target in TO_OWN_PLACE.findall(DOCKERFILE)}
    missing = {
        f"{path.relative_to(ROOT)} imports {name}"
        for package in own
        for path in (ROOT / package).rglob("*.py")
        for name in _imports(path)
        - own
        # `sendoff consume` has an image of its own, contrib/consumer/Dockerfile.
        - (with_brokers if path.parent.name == "consuming" else brought)
        - sys.stdlib_module_names
        - {"_typeshed"}  # for type checkers alone
    }
    assert not missing


def _brought_by(lock: str) -> set[str]:
    """The top-level modules of the distributions that a file of locked requirements names."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    locked = set(re.findall(r"^([a-z0-9-]+)(?:\[.*\])?==", text, re.M))
    return {
        name for name, distributions in packages_distributions().items() if {_normal(d) for d in distributions} & locked
    }


def test_its_processes_need_no_privileges_and_write_only_to_their_volumes(
    tree: Path, empty_postgres_url: str, valkey_url: str, tmp_path: Path
) -> None:
    """Setup: the image's folders where nobody may write, its dependencies, an empty database; no capabilities.

    Timeline: migrate, start the API and a worker, publish an event, tell both to stop.
    What this proves: it is delivered, both end in good order, and nothing was written but what TMPDIR is for.
    """
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    settings = {
        "DATABASE_URL": empty_postgres_url,
        "REDIS_URL": valkey_url,
        "SECRET_KEYS": "k" * 32,
        "STORAGE_URL": f"file://{tmp_path}/uploads",
        "DANGEROUSLY_ALLOW_NETWORKS": "127.0.0.0/8",
        "DANGEROUSLY_ALLOW_HTTP": "true",
    }
    environment = _image_environment(tree) | {f"SENDOFF_{name}": value for name, value in settings.items()}
    environment["TMPDIR"] = str(temporary)
    before = sorted(tree.rglob("*"))
    assert "Permission denied" in _run(["-c", "open('written', 'w')"], tree, environment).stderr
    migrated = _run(["-m", "sendoff.cli", "migrate"], tree, environment)
    assert migrated.returncode == 0, migrated.stderr

    port = free_port()
    command = json.loads(DOCKERFILE.rpartition("\nCMD ")[2])
    assert command[:2] == ["python", "-m"]
    started_as = [{"0.0.0.0": "127.0.0.1", "8000": str(port)}.get(part, part) for part in command[2:]]
    servers = [
        Server(program, environment, tmp_path / f"{program[0]}.log", python=_bare_python(), folder=tree)
        for program in (started_as, ["worker"])
    ]
    with ReceiverProcess() as receiver:
        try:
            for server in servers:
                server.start()
            lowered = {name.lower(): value for name, value in settings.items()}
            tenant = asyncio.run(open_tenant(lowered, port, [receiver.url("/hook")], ["/hook"]))
            answer = httpx.post(
                f"http://127.0.0.1:{port}/api/v1/events",
                json={"type": "upload.completed", "data": {"upload": {"id": "42"}}},
                headers={"Authorization": f"Bearer {tenant.key}"},
                trust_env=False,
            )
            assert answer.status_code == 202, answer.text
            eventually_blocking(lambda: receiver.arrived("/hook") == 2, within=30, what="the ping and the event")
            assert [server.stop() for server in servers] == [0, 0]
        finally:
            for server in servers:
                server.kill()
    assert sorted(tree.rglob("*")) == before
    assert not list(temporary.iterdir())


def test_the_page_gives_processes_the_time_that_they_may_take_to_stop() -> None:
    [seconds] = re.findall(r"--stop-timeout (\d+)", PAGE)
    assert int(seconds) >= Settings.model_fields["shutdown_grace_seconds"].default + 10


def test_the_page_names_existing_settings_and_paths() -> None:
    assert {name.removeprefix("SENDOFF_").lower() for name in re.findall(r"SENDOFF_[A-Z_]+", PAGE)} <= set(
        Settings.model_fields
    )
    [storage] = re.findall(r"SENDOFF_STORAGE_URL=file://(\S+)", DOCKERFILE)
    [volume] = re.findall(r"-v sendoff:(\S+?)\"", PAGE)
    assert Path(volume) in Path(storage).parents
    [user] = re.findall(r"^USER (\d+):\1$", DOCKERFILE, re.MULTILINE)
    assert re.search(rf"^RUN install -d -m 0700 -o {user} -g {user} {volume}$", DOCKERFILE, re.MULTILINE)
    assert f"{user}:{user}" in PAGE


def _bare_python() -> list[str]:
    """Python without capabilities, without ways to get some, and (-S) without the checkout among its packages."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return [sys.executable, "-S"]
    dropped = ["--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    return [setpriv, "--no-new-privs", *dropped, sys.executable, "-S"]


def _image_environment(tree: Path) -> dict[str, str]:
    lines = re.findall(r"^ENV (.*)$", DOCKERFILE.rpartition("\nFROM ")[2], re.MULTILINE)
    given = dict(part.split("=", 1) for line in lines for part in line.split())
    return {**given, "PATH": os.environ["PATH"], "PYTHONPATH": f"{tree}:{sysconfig.get_path('platlib')}"}


def _run(arguments: list[str], tree: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    command = [*_bare_python(), *arguments]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=120, check=False)


def _imports(path: Path) -> set[str]:
    """The top-level names of what a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _allow(tree: Path, *, folders: int, files: int) -> None:
    for path in (tree, *tree.rglob("*")):
        path.chmod(folders if path.is_dir() else files)
