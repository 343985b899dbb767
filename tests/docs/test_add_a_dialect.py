"""The dialect of the how-to: its code, as it stands there, is registered, pinged, delivered, rotated and verified."""

from __future__ import annotations

import hashlib
import hmac
import re
import subprocess
import sys
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from sendoff.dialects.optimaldial import OPTIMALDIAL
from sendoff.dialects.registry import Dialects
from sendoff.operations.rotate_secret import rotate_secret
from sendoff.verify import Problem, VerificationError, verify
from tests.support.house import ACTOR
from tests.support.processes import ROOT
from tests.support.receiver import Receiver
from tests.web.world import World

PAGE = (ROOT / "docs" / "how-to" / "add-a-dialect.md").read_text()
[CODE] = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
MOST_LINES = 80


def load_module() -> Any:
    module = ModuleType("parcelo")
    exec(CODE, module.__dict__)  # noqa: S102 - the page's own code
    return module


@pytest.fixture
def parcelo() -> Any:
    return load_module()


def test_the_file_has_fewer_than_80_lines() -> None:
    assert len(CODE.splitlines()) < MOST_LINES


def test_the_file_is_held_to_the_projects_rules(tmp_path: Any) -> None:
    path = tmp_path / "parcelo.py"
    path.write_text(CODE)
    for command in (
        ["ruff", "check", "--config", ROOT / "pyproject.toml", path],
        ["ruff", "format", "--check", "--config", ROOT / "pyproject.toml", path],
        ["mypy", "--strict", "--config-file", ROOT / "pyproject.toml", path],
    ):
        module, *arguments = command
        done = subprocess.run(
            [sys.executable, "-m", str(module), *map(str, arguments)], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


async def test_an_endpoint_that_speaks_it_is_pinged_delivered_to_rotated_and_verified(
    small_world: World, receiver: Receiver, parcelo: Any
) -> None:
    house = small_world.house
    house.runtime = replace(house.runtime, dialects=Dialects(OPTIMALDIAL, parcelo.PARCELO))
    small_world.app.state.runtime = house.runtime
    body = {"url": receiver.url("/hook"), "dialect": "parcelo"}
    made = (await small_world.post("/api/v1/webhooks", body)).json()
    assert made["webhook"]["dialect"] == "parcelo"
    old = made["secret"]
    rotated = await rotate_secret(house.runtime, house.principal.organization_id, ACTOR, made["webhook"]["id"])
    await small_world.publish({"parcel": {"weight": 1.50}})
    await house.work()
    ping, delivery = receiver.requests()
    assert ping.event["event"] == "webhook.ping"
    assert delivery.body.startswith(b'{"event":"upload.completed","sent":1777034096789,"payload":{"parcel":')
    message = delivery.header("Parcelo-Time").encode() + b"\n" + delivery.body
    marks = [hmac.new(secret.encode(), message, hashlib.sha512).hexdigest() for secret in (rotated.secret, old)]
    assert delivery.header("Parcelo-Signature") == f"sha512={marks[0]}; sha512={marks[1]}"
    now = house.clock.now().timestamp()
    for secret in (rotated.secret, old):
        assert verify(parcelo.ParceloScheme(), delivery.headers, delivery.body, secret, now=now)
    with pytest.raises(VerificationError) as caught:
        verify(parcelo.ParceloScheme(), delivery.headers, delivery.body + b" ", old, now=now)
    assert caught.value.problem is Problem.NO_SIGNATURE_MATCHES
