"""The receivers of the how-to, run as they stand there, and the test vectors, by every one of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from sendoff.dialects.base import AttemptInfo
from sendoff.dialects.optimaldial import OPTIMALDIAL
from sendoff.dialects.registry import Dialects
from sendoff.verify import VerificationError, branded, verify
from tests.integration.docs.vectors import EVENT, FILE, SECRETS, render, vectors_of
from tests.support.processes import ROOT, start, stop

PAGE = (ROOT / "docs" / "how-to" / "receive.md").read_text()
PYTHON, FASTAPI = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
NODE_VERIFY, NODE_RECEIVER = re.findall(r"^```js\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
[GO_VERIFY] = re.findall(r"^```go\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
[SHELL] = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)

VECTORS: list[dict[str, Any]] = json.loads(FILE.read_text())["vectors"]
PLAIN_NAMES = {vector.name for dialect in SECRETS for vector in vectors_of(dialect)}
PLAIN = [vector for vector in VECTORS if vector["name"] in PLAIN_NAMES]
EXPECTED = [vector.get("type") or vector["problem"] for vector in PLAIN]
SECRET = SECRETS["optimaldial"][0]

_FORMS: dict[str, Callable[[str], Any]] = {"text": str, "parsed": json.loads, "null": lambda _: None}

SERVE_FASTAPI = """
import socket
import uvicorn
from app import app
listener = socket.create_server(("127.0.0.1", 0))
print("listening on", listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="critical")).run([listener])
"""
NODE_RUNNER = """
import { readFileSync } from "node:fs";
import { verify } from "./verify.mjs";
const { vectors } = JSON.parse(readFileSync(process.argv[2]));
const results = vectors.map((vector) => {
  const lower = Object.entries(vector.headers).map(([name, value]) => [name.toLowerCase(), value]);
  const headers = Object.fromEntries(lower);
  try {
    return verify(vector.dialect, headers, Buffer.from(vector.body), vector.secrets, vector.now).type;
  } catch (error) {
    return error.message;
  }
});
console.log(JSON.stringify(results));
"""
GO_RUNNER = """
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

type vector struct {
	Dialect, Body string
	Now           int64
	Secrets       []string
	Headers       map[string]string
}

func main() {
	text, _ := os.ReadFile(os.Args[1])
	var document struct{ Vectors []vector }
	json.Unmarshal(text, &document)
	results := []any{}
	for _, v := range document.Vectors {
		get := func(name string) string {
			for key, value := range v.Headers {
				if strings.EqualFold(key, name) {
					return value
				}
			}
			return ""
		}
		event, err := Verify(v.Dialect, get, []byte(v.Body), v.Secrets, v.Now)
		if err != nil {
			results = append(results, err.Error())
		} else {
			results = append(results, event["type"])
		}
	}
	encoded, _ := json.Marshal(results)
	fmt.Println(string(encoded))
}
"""


def test_the_vectors_are_not_stale() -> None:
    assert FILE.read_text() == render(), "run: python -m tests.integration.docs.vectors"


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['dialect']}: {vector['name']}")
def test_verify_gives_what_the_vector_says(vector: dict[str, Any]) -> None:
    scheme = branded(vector["brand"], scheme=vector["scheme"]) if "brand" in vector else vector["dialect"]
    body = _FORMS[vector["body_as"]](vector["body"]) if "body_as" in vector else vector["body"].encode()

    def call() -> dict[str, Any]:
        return verify(scheme, vector["headers"], body, vector["secrets"], now=vector["now"])

    if vector["valid"]:
        assert call()["type"] == vector["type"]
        return
    with pytest.raises((VerificationError, ValueError)) as caught:
        call()
    problem = caught.value.problem if isinstance(caught.value, VerificationError) else None
    assert problem == vector.get("problem")


def test_nodes_receiver_gives_what_the_vectors_say(tmp_path: Path) -> None:
    (tmp_path / "verify.mjs").write_text(NODE_VERIFY)
    (tmp_path / "run.mjs").write_text(NODE_RUNNER)
    (tmp_path / "plain.json").write_text(json.dumps({"vectors": PLAIN}))
    assert json.loads(run([needed("node"), "run.mjs", "plain.json"], tmp_path)) == EXPECTED


def test_gos_receiver_gives_what_the_vectors_say(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module receiver\n\ngo 1.20\n")
    (tmp_path / "verify.go").write_text(GO_VERIFY)
    (tmp_path / "main.go").write_text(GO_RUNNER)
    (tmp_path / "plain.json").write_text(json.dumps({"vectors": PLAIN}))
    assert json.loads(run([needed("go"), "run", ".", "plain.json"], tmp_path)) == EXPECTED


@pytest.mark.parametrize("dialect", SECRETS)
def test_pythons_receiver_believes_us_once_and_nobody_else(dialect: str, tmp_path: Path) -> None:
    (tmp_path / "receiver.py").write_text(PYTHON)
    with receiving([sys.executable, "receiver.py"], tmp_path, dialect) as url:
        check_receiver(url, dialect)


def test_nodes_receiver_believes_us_once_and_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "verify.mjs").write_text(NODE_VERIFY)
    (tmp_path / "receiver.mjs").write_text(NODE_RECEIVER)
    with receiving([needed("node"), "receiver.mjs"], tmp_path, "optimaldial") as url:
        check_receiver(url, "optimaldial")


@pytest.mark.parametrize("language", ["python", "fastapi", "node"])
def test_a_receiver_started_before_registration_answers_the_ping_then_verifies(language: str, tmp_path: Path) -> None:
    """Timeline: start without a secret, ping, deliver, write the secret to the file, deliver again."""
    body = OPTIMALDIAL.body(EVENT)
    ping = b'{"type":"webhook.ping","data":{}}'
    with (
        receiving(_command(language, tmp_path), tmp_path, "optimaldial", WEBHOOK_SECRET="") as url,
        httpx.Client(trust_env=False, timeout=10) as client,
    ):

        def send(content: bytes) -> int:
            attempt = AttemptInfo("d", 1, int(time.time()))
            headers = OPTIMALDIAL.headers(EVENT, attempt, content, [SECRET])
            return client.post(f"{url}/hook", content=content, headers=headers).status_code

        assert [send(ping), send(body), send(b"{")] == [204, 503, 503]
        (tmp_path / "webhook-secret").write_text(f"{SECRET}\n")
        assert [send(ping), send(body)] == [204, 204]
        assert client.post(f"{url}/hook", content=ping).status_code == 400


def _command(language: str, folder: Path) -> list[str]:
    (folder / "receiver.py").write_text(PYTHON)
    (folder / "verify.mjs").write_text(NODE_VERIFY)
    (folder / "receiver.mjs").write_text(NODE_RECEIVER)
    (folder / "app.py").write_text(FASTAPI)
    (folder / "serve.py").write_text(SERVE_FASTAPI)
    commands = {
        "python": [sys.executable, "receiver.py"],
        "fastapi": [sys.executable, "serve.py"],
        "node": ["node", "receiver.mjs"],
    }
    needed(commands[language][0])
    return commands[language]


def test_the_commands_of_the_page_work_against_its_receiver(tmp_path: Path) -> None:
    (tmp_path / "receiver.py").write_text(PYTHON)
    with receiving([sys.executable, "receiver.py"], tmp_path, "optimaldial") as url:
        script = SHELL.replace("http://127.0.0.1:9000", url)
        path = f"{ROOT}/.venv/bin:{os.environ['PATH']}"
        printed = run(["bash", "-euo", "pipefail", "-c", script], tmp_path, PATH=path, WEBHOOK_SECRET=SECRET)
    assert json.loads(printed)["id"] == "evt_1"


def needed(program: str) -> str:
    """The path of a program that only some machines have."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed here")
    return found


def run(command: list[Any], directory: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=directory,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def receiving(command: list[str], directory: Path, dialect: str, **variables: str) -> Iterator[str]:
    """A receiver of the page that knows the vectors' newest two secrets; where it listens."""
    known = [vector["secrets"] for vector in VECTORS if vector["dialect"] == dialect and len(vector["secrets"]) == 2]
    environment = {
        **os.environ,
        "PORT": "0",
        "PYTHONPATH": str(ROOT),
        "WEBHOOK_DIALECT": dialect,
        "WEBHOOK_SECRET": " ".join(known[0]),
        **variables,
    }
    process = start(command, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    try:
        told = process.stdout.readline().decode().split()
        assert told[:2] == ["listening", "on"]
        yield f"http://127.0.0.1:{told[2]}"
    finally:
        stop(process)


def check_receiver(url: str, dialect: str) -> None:
    spoken = Dialects().get(dialect)
    body = spoken.body(EVENT)
    attempt = AttemptInfo("d", 1, int(time.time()))
    with httpx.Client(trust_env=False, timeout=10) as client:
        for secret in SECRETS[dialect][:2]:
            headers = spoken.headers(EVENT, attempt, body, [secret])
            assert client.post(url, content=body, headers=headers).status_code == 204
        stranger = spoken.headers(EVENT, attempt, body, [SECRETS[dialect][2]])
        assert client.post(url, content=body, headers=stranger).status_code == 400
        assert client.post(url, content=body + b" ", headers=headers).status_code == 400
