"""The dialect of the how-to: its code, as it stands there, is registered, pinged, delivered, rotated and verified."""

from __future__ import annotations

import hashlib
import hmac
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sendoff.dialects.optimaldial import OPTIMALDIAL
from sendoff.dialects.registry import Dialects
from sendoff.endpoints.secrets import rotate_secret
from sendoff.verify import Problem, VerificationError, schemes, verify
from tests.integration.api.api_fixture import ApiFixture
from tests.support.app_fixture import ACTOR
from tests.support.processes import ROOT
from tests.support.receiver import Receiver

PAGE = (ROOT / "docs" / "how-to" / "add-a-dialect.md").read_text()
CODE, SCHEME_CODE = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
MOST_LINES = 80
SECRETS = ["prc_" + "1e" * 24, "prc_" + "0f" * 24]
CHECK = """
import sys
sys.path.insert(0, sys.argv[1])
from sendoff.verify import verify
headers = [line.split(": ", 1) for line in sys.stdin.read().splitlines()]
print(verify("parcelo", headers, sys.argv[2].encode(), sys.argv[3])["event"])
"""


@pytest.fixture
def parcelo() -> Any:
    module = ModuleType("parcelo")
    exec(CODE, module.__dict__)  # noqa: S102 - the page's own code
    return module


@pytest.fixture
def scheme() -> schemes.Scheme:
    names = dict(vars(schemes))
    exec(SCHEME_CODE, names)  # noqa: S102 - the page's own code
    made: schemes.Scheme = names["Parcelo"]()
    return made


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the product, to which is done what the page says."""
    shutil.copytree(ROOT / "sendoff", tmp_path / "sendoff", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "sendoff" / "dialects" / "parcelo.py").write_text(CODE)
    edit(
        tmp_path / "sendoff" / "dialects" / "registry.py",
        (
            "from sendoff.dialects.slack",
            "from sendoff.dialects.parcelo import PARCELO\nfrom sendoff.dialects.slack",
        ),
        before('        StandardWebhooks("standard",', "        PARCELO,\n"),
    )
    edit(
        tmp_path / "sendoff" / "verify" / "schemes.py",
        before("def branded(", f"{SCHEME_CODE}\n\n"),
        before('    "standard": Standard(),', '    "parcelo": Parcelo(),\n'),
    )
    return tmp_path


def before(place: str, added: str) -> tuple[str, str]:
    return place, added + place


def edit(path: Path, *replacements: tuple[str, str]) -> None:
    text = path.read_text()
    for old, new in replacements:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path.write_text(text)


def run(*command: object, cwd: Path, stdin: str = "") -> str:
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=cwd, capture_output=True, text=True, input=stdin, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_file_has_fewer_than_80_lines() -> None:
    assert len(CODE.splitlines()) < MOST_LINES


def test_an_added_dialect_passes_the_projects_checks(copy: Path) -> None:
    changed = [copy / "sendoff" / path for path in ("dialects/parcelo.py", "dialects/registry.py", "verify/schemes.py")]
    rules = ROOT / "pyproject.toml"
    run("-m", "ruff", "check", "--config", rules, *changed, cwd=copy)
    run("-m", "ruff", "format", "--check", "--config", rules, *changed, cwd=copy)
    run("-m", "mypy", "--strict", "--config-file", rules, *changed, cwd=copy)


def test_after_the_pages_steps_it_is_signed_by_its_name_and_verified_with_the_standard_library_alone(
    copy: Path, tmp_path: Path
) -> None:
    body = '{"event":"upload.failed","sent":1777034096789,"payload":{}}'
    secrets = [option for secret in SECRETS for option in ("--secret", secret)]
    sign = ["sign", "--dialect", "parcelo", *secrets, "--type", "upload.failed"]
    headers = run("-m", "sendoff.cli", *sign, cwd=copy, stdin=body)
    for secret in SECRETS:
        assert run("-S", "-I", "-c", CHECK, copy, body, secret, cwd=ROOT, stdin=headers) == "upload.failed\n"
    (tmp_path / "headers").write_text(headers)
    verify_command = ["verify", "--dialect", "parcelo", "--secret", SECRETS[0], "--headers", tmp_path / "headers"]
    assert "upload.failed" in run("-m", "sendoff.cli", *verify_command, cwd=copy, stdin=body)


async def test_an_endpoint_that_speaks_it_is_pinged_delivered_to_rotated_and_verified(
    sqlite_api: ApiFixture, receiver: Receiver, parcelo: Any, scheme: schemes.Scheme
) -> None:
    app = sqlite_api.app
    app.context = replace(app.context, dialects=Dialects(OPTIMALDIAL, parcelo.PARCELO))
    sqlite_api.asgi.state.context = app.context
    body = {"url": receiver.url("/hook"), "dialect": "parcelo"}
    made = (await sqlite_api.post("/api/v1/webhooks", body)).json()
    assert made["webhook"]["dialect"] == "parcelo"
    old = made["secret"]
    rotated = await rotate_secret(app.context, app.principal.organization_id, ACTOR, made["webhook"]["id"])
    await sqlite_api.publish({"parcel": {"weight": 1.50}})
    await app.work()
    ping, delivery = receiver.requests()
    assert ping.event["event"] == "webhook.ping"
    assert delivery.body.startswith(b'{"event":"upload.completed","sent":1777034096789,"payload":{"parcel":')
    message = delivery.header("Parcelo-Time").encode() + b"\n" + delivery.body
    marks = [hmac.new(secret.encode(), message, hashlib.sha512).hexdigest() for secret in (rotated.secret, old)]
    assert delivery.header("Parcelo-Signature") == f"sha512={marks[0]}; sha512={marks[1]}"
    now = app.clock.now().timestamp()
    for secret in (rotated.secret, old):
        assert verify(scheme, delivery.headers, delivery.body, secret, now=now)
    with pytest.raises(VerificationError) as caught:
        verify(scheme, delivery.headers, delivery.body + b" ", old, now=now)
    assert caught.value.problem is Problem.NO_SIGNATURE_MATCHES
