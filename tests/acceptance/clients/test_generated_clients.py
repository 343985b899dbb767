"""Clients of four public generators compile and make the main calls against a running installation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.clients.conftest import Served
from tests.acceptance.clients.tools_here import FOLDER, find_jar, find_tool, run
from tests.integration.uploads.contacts import valid_contacts

pytestmark = pytest.mark.chaos

PROGRAMS = Path(__file__).parent / "programs"
NUMBERS = 120


def check_main_calls(served: Served, folder: Path, *command: str | Path, **options: Any) -> None:
    """Run the program: its receiver answers the ping, fails the first delivery and takes the replay."""
    path = f"/{folder.name}"
    served.receiver.program(path, 200, 500, 200)
    numbers = folder / "numbers.csv"
    numbers.write_text("phone\n" + "".join(f"{contact['phone']}\n" for contact in valid_contacts(NUMBERS)))
    url = served.receiver.url(path)
    answers = json.loads(run(*command, served.url, served.key, url, numbers, folder=folder, **options))
    assert "not public" in answers.pop("refusal")
    assert answers == {
        "secret_characters": 64,
        "deliveries": answers["deliveries"],
        "listed": 1,
        "url": url,
        "reason": "retries_exhausted",
        "response_status": 500,
        "replayed": 1,
        "valid_rows": NUMBERS,
    }
    assert answers["deliveries"] >= 1  # endpoints of the other clients get the event as well


def test_openapi_python_client(served: Served, tmp_path: Path) -> None:
    generator = find_tool("openapi-python-client")
    said = run(generator, "generate", "--path", served.document, "--meta", "none", "--output-path", "sendoff_client",
               folder=tmp_path, environment={"PATH": f"{Path(generator).parent}:/usr/bin:/bin"})  # fmt: skip
    assert "Warning" not in said
    assert "Error" not in said
    python = Path(generator).parent / "python"
    check_main_calls(served, tmp_path, python, PROGRAMS / "main_calls.py", environment={"PYTHONPATH": str(tmp_path)})


def test_openapi_typescript(served: Served, tmp_path: Path) -> None:
    generator, compiler, node = find_tool("openapi-typescript"), find_tool("tsc"), find_tool("node")
    run(generator, served.document, "-o", "api.d.ts", folder=tmp_path)
    shutil.copy(PROGRAMS / "main_calls.ts", tmp_path)
    (tmp_path / "node_modules").symlink_to(FOLDER / "node_modules")
    options = ["--strict", "--target", "es2022", "--module", "commonjs", "--moduleResolution", "node10"]
    run(compiler, *options, "--types", "node", "main_calls.ts", folder=tmp_path)
    check_main_calls(served, tmp_path, node, "main_calls.js")


def test_oapi_codegen(served: Served, tmp_path: Path) -> None:
    generator, go = find_tool("oapi-codegen"), find_tool("go")
    shutil.copytree(PROGRAMS / "go", tmp_path, dirs_exist_ok=True)
    (tmp_path / "sendoff").mkdir()
    made = ["-generate", "types,client", "-package", "sendoff", "-o", "sendoff/client.go"]
    run(generator, *made, served.document, folder=tmp_path)
    run(go, "vet", "./...", folder=tmp_path)
    run(go, "build", "-o", "main_calls", ".", folder=tmp_path)
    check_main_calls(served, tmp_path, tmp_path / "main_calls")


def test_openapi_generator(served: Served, tmp_path: Path) -> None:
    java, maven, jar = find_tool("java"), find_tool("mvn"), find_jar("openapi-generator-cli-*.jar")
    project = tmp_path / "project"
    # With request objects a parameter that is added to a call breaks no client's code.
    run(java, "-jar", jar, "generate", "-i", served.document, "-g", "java", "--library", "native",
        "--additional-properties", "useSingleRequestParameter=true",
        "--skip-validate-spec", "-o", project, folder=tmp_path)  # fmt: skip
    shutil.copy(PROGRAMS / "MainCalls.java", project / "src" / "main" / "java")
    classpath = tmp_path / "classpath"
    run(maven, "-q", "-DskipTests", "compile", "dependency:build-classpath", f"-Dmdep.outputFile={classpath}",
        folder=project)  # fmt: skip
    classes = f"{project}/target/classes:{classpath.read_text().strip()}"
    check_main_calls(served, tmp_path, java, "-cp", classes, "MainCalls")
