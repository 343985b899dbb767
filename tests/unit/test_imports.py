"""What importing a part of the engine loads: no other product, no web framework, no client of anything else."""

from __future__ import annotations

import subprocess
import sys

FOREIGN = {
    "arq",
    "cryptography",
    "fastapi",
    "httpx",
    "jsonschema_rs",
    "jwt",
    "obstore",
    "phonenumbers",
    "pydantic_settings",
    "redis",
    "starlette",
    "typer",
}


def test_importing_the_dead_letter_drain_loads_only_what_it_needs() -> None:
    script = "import sys, sendoff.endpoint_health.draining; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & FOREIGN == set()
