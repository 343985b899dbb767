"""Every block of the README, run as it stands: in its order, each in a shell of its own, on its own ports."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from sendoff.policy.endpoints.auth import parse_auth
from tests.support.polling import eventually_blocking
from tests.support.ports import free_port
from tests.support.processes import ROOT, start, stop

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
PUBLISHING = (ROOT / "docs" / "how-to" / "publish.md").read_text()
PUBLISHING_BLOCKS = re.findall(r"^```sh\n(.*?)^```", PUBLISHING, re.DOTALL | re.MULTILINE)
[PUBLISHING_CODE] = re.findall(r"^```python\n(.*?)^```", PUBLISHING, re.DOTALL | re.MULTILINE)
ORDER = (ROOT / "docs" / "how-to" / "ordered-delivery.md").read_text()
ORDER_BLOCKS = re.findall(r"^```sh\n(.*?)^```", ORDER, re.DOTALL | re.MULTILINE)
SENDING = (ROOT / "docs" / "how-to" / "send-to-an-endpoint.md").read_text()
SENDING_BLOCKS = re.findall(r"^```sh\n(.*?)^```", SENDING, re.DOTALL | re.MULTILINE)
PORTAL = (ROOT / "docs" / "how-to" / "portal.md").read_text()
PORTAL_BLOCKS = re.findall(r"^```sh\n(.*?)^```", PORTAL, re.DOTALL | re.MULTILINE)
DASHBOARD = (ROOT / "docs" / "how-to" / "dashboard.md").read_text()
DASHBOARD_BLOCKS = re.findall(r"^```sh\n(.*?)^```", DASHBOARD, re.DOTALL | re.MULTILINE)
REPLAYING = (ROOT / "docs" / "how-to" / "replay.md").read_text()
REPLAYING_BLOCKS = re.findall(r"^```sh\n(.*?)^```", REPLAYING, re.DOTALL | re.MULTILINE)
ORGANIZATIONS = (ROOT / "docs" / "explanation" / "organizations.md").read_text()
[ORGANIZATIONS_BLOCK] = re.findall(r"^```sh\n(.*?)^```", ORGANIZATIONS, re.DOTALL | re.MULTILINE)
[ORGANIZATIONS_CODE] = re.findall(r"^```python\n(.*?)^```", ORGANIZATIONS, re.DOTALL | re.MULTILINE)
SETS_KEY = "KEY=$(cat data/key)\n"
DEMO, START, ORGANIZATION, PUBLISH, ARRIVED, FAILED, AGAIN, STOP, PRODUCTION = BLOCKS


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A directory in which the README's relative paths lead to this checkout, but `./data` is the test's own."""
    for name in (".venv", "Makefile", "Procfile", "api", "worker", "sendoff", "requirements", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


@pytest.fixture
def ports() -> dict[str, str]:
    return {"8000": str(free_port()), "9000": str(free_port())}


def run(script: str, directory: Path) -> str:
    """What a block prints; it must not fail."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=directory,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_demo_block_names_a_target_that_exists(checkout: Path) -> None:
    assert "sendoff demo" in run(DEMO.replace("make", "make --dry-run"), checkout)


def test_the_blocks_pasted_one_by_one_end_with_a_verified_delivery(checkout: Path, ports: dict[str, str]) -> None:
    def adapted(block: str) -> str:
        return re.sub("8000|9000", lambda found: ports[found[0]], block)

    try:
        assert run(adapted(START), checkout).startswith("ready http://127.0.0.1:")
        run(adapted(ORGANIZATION), checkout)
        assert '"deliveries":1' in run(adapted(PUBLISH), checkout)
        arrived = run(adapted(ARRIVED), checkout)
        assert re.search(
            r'^verified  upload.completed  evt_\w+  {"upload": {"id": "42"}}  answered 200$', arrived, re.M
        )
        assert "delivered" in arrived
        for name in ("key", "webhook-secret"):
            assert (checkout / "data" / name).stat().st_mode & 0o777 == 0o600
        failed = run(adapted(FAILED), checkout)
        assert '"deliveries":1' in failed
        assert "Would send again: 1 deliver" in failed
        assert re.search(r"^verified  upload.completed  .*answered 200$", run(adapted(AGAIN), checkout), re.M)
        check_the_page_on_publishing(checkout, ports["8000"])
        check_the_page_on_order(checkout, adapted)
        check_the_page_on_sending(checkout, adapted)
        check_the_page_on_replays(checkout)
        check_the_page_on_organizations(checkout, ports["8000"])
        check_the_page_on_the_portal(checkout, adapted)
        check_the_page_on_the_dashboard(checkout, adapted)
        logs = [(checkout / "data" / name).read_text() for name in ("received.log", "received-again.log")]
        assert "ping      answered 200" in logs[0]
        assert "refused" not in "".join(logs)
    finally:
        run(adapted(STOP), checkout)
        pid_files = [checkout / "data" / name for name in ("receiver.pid", "lock")]
        eventually_blocking(lambda: not any(_runs(path) for path in pid_files), within=40, what="the end of both")
        assert run(f"exec 2>&1\n{adapted(STOP)}", checkout) == ""  # nothing is said when both ended before


def check_the_page_on_publishing(checkout: Path, port: str) -> None:
    """The blocks of the how-to, against the installation that the README has started."""
    one, tagged, many, own_type, structured, binary, batch = (
        run(block.replace("8000", port), checkout) for block in with_key(PUBLISHING_BLOCKS)
    )
    assert '"deliveries":1' in one
    assert '"deliveries":1' in tagged
    assert many.count('"upload.created"') == 2
    assert "order.paid" in own_type
    assert '"upload.created"' in structured
    assert '"upload.created"' in binary
    assert json.loads(batch)["events"][0] == json.loads(binary)
    call = """
key = open("data/key").read().strip()
client = httpx.Client(base_url="http://127.0.0.1:PORT", headers={"Authorization": f"Bearer {key}"}, trust_env=False)
event = {"type": "order.paid", "data": {"n": 1}}
print(publish(client, event, "order-1") == publish(client, event, "order-1"))
"""
    (checkout / "publishing.py").write_text(PUBLISHING_CODE + call.replace("PORT", port))
    assert run(".venv/bin/python publishing.py", checkout) == "True\n"


def check_the_page_on_order(checkout: Path, adapted: Callable[[str], str]) -> None:
    register, publish, waiting, switch = map(adapted, with_key(ORDER_BLOCKS))
    assert '"ordered":true' in run(register, checkout)
    assert run(publish, checkout).count('"deliveries":1') == 3
    log = checkout / "data" / "received-again.log"
    eventually_blocking(lambda: log.read_text().count('{"step": ') == 3, within=30, what="three deliveries")
    assert re.findall(r'\{"step": (\d)\}', log.read_text()) == ["1", "2", "3"]
    assert json.loads(run(waiting, checkout))["data"] == []
    assert '"ordered"' not in run(switch, checkout)


def check_the_page_on_sending(checkout: Path, adapted: Callable[[str], str]) -> None:
    bounds, headers, mutual_tls, trial = map(adapted, with_key(SENDING_BLOCKS))
    assert '"retry_schedule":["30s","5m","2h"]' in run(bounds, checkout)
    assert '"headers":{"X-Api-Key":"***","X-Tenant":"***"}' in run(headers, checkout)
    assert "needs an https URL" in run(mutual_tls, checkout)
    assert '"X-Api-Key":"***"' in run(trial, checkout)


def check_the_page_on_the_portal(checkout: Path, adapted: Callable[[str], str]) -> None:
    link, command, end = map(adapted, with_key(PORTAL_BLOCKS))
    with httpx.Client(trust_env=False, follow_redirects=True) as customer:
        assert "Add an endpoint" in customer.get(json.loads(run(link, checkout))["url"]).text
        assert json.loads(run(end, checkout)) == {"ended": 1}
        assert "Your session has ended" in customer.get(adapted("http://127.0.0.1:8000/portal")).text
        assert "Add an endpoint" not in customer.get(adapted(run(command, checkout)).strip()).text
        assert customer.get(adapted("http://127.0.0.1:8000/portal/deliveries")).status_code == 200


def check_the_page_on_the_dashboard(checkout: Path, adapted: Callable[[str], str]) -> None:
    command, key = DASHBOARD_BLOCKS
    link = adapted(run(command, checkout)).strip()
    with httpx.Client(trust_env=False, follow_redirects=True) as operator:
        assert "<h1>Overview</h1>" in operator.get(link).text
        assert "used already" in operator.get(link).text
        assert operator.get(adapted("http://127.0.0.1:8000/dashboard/deliveries")).status_code == 200
    authorization = {"Authorization": f"Bearer {run(key, checkout).strip()}"}
    overview = httpx.get(adapted("http://127.0.0.1:8000/operator/v1/overview"), headers=authorization, trust_env=False)
    assert overview.status_code == 200


def check_the_page_on_organizations(checkout: Path, port: str) -> None:
    run(ORGANIZATIONS_BLOCK, checkout)
    assert (checkout / "data" / "operator-key").stat().st_mode & 0o777 == 0o600
    call = """
def client(key):
    return httpx.Client(base_url="http://127.0.0.1:PORT", headers={"Authorization": f"Bearer {key}"}, trust_env=False)


operator = client(open("data/operator-key").read().strip())
keys = [publishing_key(operator, f"customer-{number}", "Acme") for number in (1, 2, 2)]
for key in keys:
    published = client(key).post("/api/v1/events", json={"type": "upload.completed", "data": {}})
    print(published.status_code, published.json()["deliveries"])
print(client(keys[0]).post("/api/v1/portal-links", json={}).status_code)
print(len(set(keys)))
"""
    (checkout / "organizations.py").write_text(ORGANIZATIONS_CODE + call.replace("PORT", port))
    *published, portal, different = run(".venv/bin/python organizations.py", checkout).splitlines()
    assert published == ["202 0"] * 3
    assert portal in ("200", "201")
    assert different == "2"  # a repeated call gives the key that was made before


def with_key(blocks: list[str]) -> list[str]:
    """The blocks of a page whose first one sets `$KEY`, for a shell each."""
    assert blocks[0].startswith(SETS_KEY)
    return [blocks[0], *(f"{SETS_KEY}{block}" for block in blocks[1:])]


def check_the_page_on_replays(checkout: Path) -> None:
    counted, sent, pending, missing, since = (run(block, checkout) for block in REPLAYING_BLOCKS)
    assert counted == "Would send again: 0 deliveries to 0 endpoints.\n"
    assert "completed" in sent
    assert "completed" in pending
    assert json.loads(missing)["missing"] > 0
    assert since == "Would send again: 0 deliveries to 0 endpoints.\n"


@pytest.mark.parametrize("block", re.findall(r"^```json\n(.*?)^```", SENDING, re.DOTALL | re.MULTILINE))
def test_the_examples_of_authentication_can_be_given(block: str) -> None:
    assert parse_auth(block).type == json.loads(block)["type"]


def test_the_production_block_starts_web_and_worker(checkout: Path, empty_postgres_url: str, valkey_url: str) -> None:
    port = free_port()
    script = (
        PRODUCTION.replace(
            "postgresql://sendoff@db.internal/sendoff", empty_postgres_url.replace("postgresql+asyncpg", "postgresql")
        )
        .replace("redis://redis.internal:6379/0", valkey_url)
        .replace(".venv/bin/honcho start", f"env PORT={port} .venv/bin/honcho start")
    )
    with running(script, checkout, f"http://127.0.0.1:{port}/ready"):
        assert httpx.get(f"http://127.0.0.1:{port}/ready").status_code == 200


def test_the_verification_example_refuses_a_request_without_a_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "packages" / "python" / "src")
    [example] = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    given = {"headers": {}, "body": b"{}", "secret": "s" * 64}
    exec(compile(example, "README.md", "exec"), given)  # noqa: S102 - the README's own code
    assert "event" not in given


@contextmanager
def running(script: str, directory: Path, health: str) -> Iterator[None]:
    """A block whose last command stays in the foreground, while it answers."""
    *before, last = script.strip().splitlines()
    command = "\n".join([*before, f"exec {last}"])
    process = start(["bash", "-euo", "pipefail", "-c", command], cwd=directory, env=_environment())
    try:
        eventually_blocking(lambda: _answers(health), within=60, what=f"an answer of {health}")
        yield
    finally:
        assert stop(process, within=40) in (0, 143)  # honcho exits with the signal that ended it


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def _runs(pid_file: Path) -> bool:
    text = pid_file.read_text().strip() if pid_file.exists() else ""
    return text != "" and Path(f"/proc/{text}/exe").exists()


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("SENDOFF_")}
