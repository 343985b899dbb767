"""The receivers of the how-to, each started as its page says; and the test vectors."""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from sendoff.dialects.base import AttemptInfo
from sendoff.dialects.optimaldial import OPTIMALDIAL
from sendoff.verify import Problem, VerificationError, branded, verify
from tests.integration.api.api_fixture import ApiFixture
from tests.integration.docs.vectors import EVENT, FILE, render
from tests.support.polling import eventually_blocking
from tests.support.ports import free_port
from tests.support.processes import ROOT, start, stop

PAGE = (ROOT / "docs" / "how-to" / "receive.md").read_text()
PROGRAM = re.compile(r"^```\w+\n((?:#|//) (\S+), started with: ([^\n]*)\n.*?)^```", re.DOTALL | re.MULTILINE)
PROGRAMS = {name: (code, command) for code, name, command in PROGRAM.findall(PAGE)}
SHELL = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)[-1]

NODE = Path(__file__).parent / "node"
"""The npm packages that the JavaScript receivers need. `npm ci --omit=dev` there installs Express."""

VECTORS: list[dict[str, Any]] = json.loads(FILE.read_text())["vectors"]
_FORMS: dict[str, Callable[[str], Any]] = {"text": str, "parsed": json.loads, "null": lambda _: None}


def test_the_page_says_what_to_do_about_every_problem() -> None:
    table = PAGE.partition("## When a request is refused")[2]
    assert [problem for problem in Problem if f"`{problem}`" not in table] == []


def test_the_vectors_are_not_stale() -> None:
    assert FILE.read_text() == render(), "run: python -m tests.integration.docs.vectors"


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['dialect']}: {vector['name']}")
def test_verify_gives_what_the_vector_says(vector: dict[str, Any]) -> None:
    scheme = branded(vector["brand"], scheme=vector["scheme"]) if "brand" in vector else vector["dialect"]
    body = _FORMS[vector["body_as"]](vector["body"]) if "body_as" in vector else vector["body"].encode()

    def call() -> dict[str, Any]:
        return verify(scheme, vector["headers"], body, vector["secrets"], now=vector["now"])

    if vector["valid"]:
        assert (call()["type"], call()["id"]) == (vector["type"], vector["id"])
        return
    with pytest.raises((VerificationError, ValueError)) as caught:
        call()
    problem = caught.value.problem if isinstance(caught.value, VerificationError) else None
    assert problem == vector.get("problem")


@pytest.fixture
def shared_secret() -> str:
    return secrets.token_hex(32)


@pytest.fixture(
    params=[
        "main.py",
        "app.py",
        "receiver.py",
        "server.mjs",
        "main.go",
        pytest.param("app/hook/route.js", marks=pytest.mark.chaos),
    ]
)
def receiver_url(request: pytest.FixtureRequest, tmp_path: Path, shared_secret: str) -> Iterator[str]:
    """Where a receiver of the page listens, before any endpoint is registered."""
    with receiving(request.param, tmp_path, f"{shared_secret} {'previous' * 8}") as url:
        yield url


async def test_a_receiver_started_before_its_registration_is_pinged_delivered_to_and_refuses_forgeries(
    sqlite_api: ApiFixture, receiver_url: str, shared_secret: str, tmp_path: Path
) -> None:
    clock = sqlite_api.app.clock
    clock.advance((datetime.now(UTC) - clock.now()).total_seconds())
    webhook = await sqlite_api.register(receiver_url, secret=shared_secret)
    await sqlite_api.publish({"order": {"id": "first"}})
    await sqlite_api.app.work()
    [delivery] = (await sqlite_api.get(f"/api/v1/webhooks/{webhook['id']}/deliveries")).json()
    assert (delivery["status"], delivery["last_response_status"]) == ("delivered", 204)
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        for expected, content, headers in requests_to_try(shared_secret):
            answer = await client.post(receiver_url, content=content, headers=headers)
            assert answer.status_code == expected
    lines = (tmp_path / "output").read_text().splitlines()
    assert len([line for line in lines if line.startswith("upload.completed") and "first" in line]) == 1
    assert len([line for line in lines if line.startswith("upload.completed") and "second" in line]) == 1


def requests_to_try(secret: str) -> Iterator[tuple[int, bytes, dict[str, str]]]:
    """Requests, and the status that each must be answered with."""
    event = replace(EVENT, event_id="evt_" + secrets.token_hex(12), data=b'{"order":{"id":"second"}}')
    body = OPTIMALDIAL.body(event)

    def signed(by: str, *, age: int = 0) -> dict[str, str]:
        attempt = AttemptInfo("d", 1, int(time.time()) - age)
        return dict(OPTIMALDIAL.headers(event, attempt, body, [by]))

    yield 204, body, signed(secret)
    yield 204, body, signed("previous" * 8)
    yield 400, body + b" ", signed(secret)
    yield 400, body, signed("0f" * 32)
    yield 400, body, signed(secret, age=400)
    yield 400, body, {"Content-Type": "application/json"}
    yield 400, b"", signed(secret)


def test_the_commands_of_the_page_work_against_its_receiver(tmp_path: Path, shared_secret: str) -> None:
    with receiving("app.py", tmp_path, shared_secret) as url:
        script = SHELL.replace("http://127.0.0.1:9000/hook", url)
        path = f"{ROOT}/.venv/bin:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "WEBHOOK_SECRETS": shared_secret}
        command = ["bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["id"] == "evt_1"


@contextmanager
def receiving(name: str, folder: Path, known: str) -> Iterator[str]:
    """A receiver of the page with the secrets `known`; its URL. What it prints is in the file `output`."""
    code, command = PROGRAMS[name]
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(code)
    port = str(free_port())
    environment = {
        **os.environ,
        "PORT": port,
        "PYTHONPATH": str(ROOT / "packages" / "python" / "src"),
        "WEBHOOK_SECRETS": known,
        "NEXT_TELEMETRY_DISABLED": "1",
    }
    words = prepare(shlex.split(command.replace("9000", port)), folder)
    with (folder / "output").open("wb") as output:
        # In a session of its own: some of the commands start further processes.
        process = start(words, cwd=folder, env=environment, stdout=output, stderr=output, start_new_session=True)
    url = f"http://127.0.0.1:{port}/hook"
    try:
        eventually_blocking(lambda: process.poll() is not None or answers(url), within=90, what=f"an answer of {name}")
        assert process.poll() is None, (folder / "output").read_text()
        yield url
    finally:
        stop(process)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def answers(url: str) -> bool:
    """Whether a server answers; the first request lets development servers compile the route."""
    try:
        return httpx.get(url, trust_env=False, timeout=60).status_code in (404, 405, 400)
    except httpx.TransportError:
        return False


def prepare(command: list[str], folder: Path) -> list[str]:
    """The page's command with the programs of this machine, after what it needs is in the folder."""
    program, *arguments = command
    if program in ("uvicorn", "flask"):
        return [sys.executable, "-m", program, *arguments]
    if program == "python":
        return [sys.executable, *arguments]
    if program == "go":
        return [build_with_go(folder)]
    if program == "next":
        install_with_npm(folder)
        return [str(folder / "node_modules" / ".bin" / "next"), *arguments]
    link_npm_packages(folder)
    return [needed(program), *arguments]


def build_with_go(folder: Path) -> str:
    """What `go run` would start: a program that ends when it is stopped, and not its parent alone."""
    shutil.copytree(ROOT / "packages" / "go", folder / "verify")
    (folder / "go.mod").write_text(
        "module receiver\n\ngo 1.20\n\nrequire sendoff/verify v0.1.0\n\nreplace sendoff/verify => ./verify\n"
    )
    offline = {"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    command = [needed("go"), "build", "-o", "receiver", "."]
    done = subprocess.run(command, cwd=folder, env=os.environ | offline, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return str(folder / "receiver")


def link_npm_packages(folder: Path) -> None:
    if not (NODE / "node_modules" / "express").exists():
        pytest.skip(f"express is not installed here: npm ci --omit=dev in {NODE.relative_to(ROOT)}")
    (folder / "node_modules").mkdir()
    for package in (NODE / "node_modules" / "express", ROOT / "packages" / "javascript"):
        name = json.loads((package / "package.json").read_text())["name"]
        (folder / "node_modules" / name).symlink_to(package)


def install_with_npm(folder: Path) -> None:
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(NODE / name, folder)
    done = subprocess.run([needed("npm"), "ci"], cwd=folder, capture_output=True, text=True, timeout=400)
    if done.returncode:
        pytest.skip(f"npm ci cannot install Next.js here: {done.stderr[-200:]}")
    shutil.copytree(ROOT / "packages" / "javascript", folder / "node_modules" / "sendoff-verify")


def needed(program: str) -> str:
    """The path of a program that only some machines have."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed here")
    return found
