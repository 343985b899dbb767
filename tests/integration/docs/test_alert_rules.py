"""Every alert fires when what it tells of is broken: real metrics before and after, judged by Prometheus itself."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml

from sendoff.delivery.pipeline import claim, deliver
from sendoff.delivery.record import record
from sendoff.observability import metrics
from sendoff.operators.replays.replay import Selection, start_replay
from sendoff.queue import DELIVERIES, WORKERS_KEY
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from sendoff.store.vault import Vault
from tests.integration.api.api_fixture import ApiFixture, open_api
from tests.support.app_fixture import ACTOR
from tests.support.processes import ROOT
from tests.support.receiver import Receiver

RULES = ROOT / "contrib" / "prometheus" / "alerts.yml"
ALERTS = {rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}
RUNBOOK = (ROOT / "docs" / "how-to" / "runbook.md").read_text()

WELL_MINUTES, BROKEN_MINUTES = 20, 60
"""How long the metrics stay as they were scraped before and after the break; longer than any rule waits."""

Series = dict[str, float]


@dataclass
class Patient:
    """The installation that is broken, and mended again."""

    api: ApiFixture
    receiver: Receiver

    async def scrape(self, path: str = "/metrics") -> Series:
        """What Prometheus would read now. What is kept for seconds is forgotten."""
        await self.api.app.context.redis.unlink("sendoff:measuring", "sendoff:measurement")
        self.api.asgi.state.context = replace(self.api.asgi.state.context, _services={})
        response = await self.api.get(path, key="")
        series = {'up{job="sendoff-web"}': float(response.status_code == 200)}
        for line in response.text.splitlines() if response.status_code == 200 else ():
            if line.startswith("sendoff_"):
                name, _, value = line.rpartition(" ")
                series[name] = float(value)
        return series

    async def fail(self, *, times: int = 1, status: int = 500) -> None:
        """Events that the receiver refuses."""
        self.receiver.program("/hook", status)
        for _ in range(times):
            await self.api.publish()
        await self.api.app.work()
        self.receiver.program("/hook", 200)


async def no_worker(patient: Patient) -> Series:
    await patient.api.app.context.redis.delete(WORKERS_KEY)
    return await patient.scrape()


async def late(patient: Patient) -> Series:
    await patient.api.publish()
    patient.api.app.clock.advance(120)
    return await patient.scrape()


async def api_down(patient: Patient) -> Series:
    return await patient.scrape("/nothing-answers-here")


async def process_down(patient: Patient) -> Series:
    """One of two machines is gone; what the other one measures goes on."""
    return await patient.scrape() | {'up{job="sendoff-worker"}': 0.0}


async def api_failing(patient: Patient) -> Series:
    async with patient.api.without_database():
        assert (await patient.api.get("/api/v1/webhooks")).status_code == 503
    return await patient.scrape()


async def slow_api(patient: Patient) -> Series:
    hot = patient.api.asgi.state.context.hot
    accept = hot.accept

    async def accept_slowly(*rows: Any, **options: Any) -> None:
        await asyncio.sleep(1.1)  # the database is slow
        await accept(*rows, **options)

    with patch.object(hot, "accept", accept_slowly):
        await patient.api.publish()
    return await patient.scrape()


async def secrets_unreadable(patient: Patient) -> Series:
    patient.api.asgi.state.context = replace(patient.api.asgi.state.context, vault=Vault(["other" * 8]))
    return await patient.scrape()


async def redis_down(patient: Patient) -> Series:
    async with patient.api.without_redis():
        return await patient.scrape()


async def endpoints_disabled(patient: Patient) -> Series:
    await patient.fail(times=2)
    return await patient.scrape()


async def dead_letters_grow(patient: Patient) -> Series:
    await patient.fail(times=10)
    return await patient.scrape()


async def attempts_fail(patient: Patient) -> Series:
    await patient.fail()
    return await patient.scrape()


async def replay_stuck(patient: Patient) -> Series:
    await patient.fail()
    await start_replay(patient.api.app.context, ACTOR, Selection(DeadLetterFilter()))
    patient.api.app.clock.advance(90)
    return await patient.scrape()


async def retention_behind(patient: Patient) -> Series:
    await patient.api.publish()
    await patient.api.app.work()
    patient.api.app.clock.advance(31 * 86_400)
    return await patient.scrape()


async def queue_grows(patient: Patient) -> Series:
    await patient.api.app.context.redis.zadd(DELIVERIES, {str(number): number for number in range(1_100)})
    return await patient.scrape()


async def leases_lost(patient: Patient) -> Series:
    context = patient.api.app.context
    [event] = await patient.api.app.publish()
    [taken] = (await claim(context, event.delivery_ids)).to_send
    sent = await deliver(context, taken)
    patient.api.app.clock.advance(context.settings.lease_seconds + 1)
    assert (await claim(context, event.delivery_ids)).to_send
    await record(context, [sent])
    return await patient.scrape()


BREAKS: dict[str, Callable[[Patient], Awaitable[Series]]] = {
    "SendoffNoWorker": no_worker,
    "SendoffLate": late,
    "SendoffApiDown": api_down,
    "SendoffProcessDown": process_down,
    "SendoffApiFailing": api_failing,
    "SendoffSlowApi": slow_api,
    "SendoffSecretsUnreadable": secrets_unreadable,
    "SendoffRedisDown": redis_down,
    "SendoffEndpointsDisabled": endpoints_disabled,
    "SendoffDeadLettersGrow": dead_letters_grow,
    "SendoffAttemptsFail": attempts_fail,
    "SendoffReplayStuck": replay_stuck,
    "SendoffRetentionBehind": retention_behind,
    "SendoffQueueGrows": queue_grows,
    "SendoffLeasesLost": leases_lost,
}


@pytest.fixture
async def patient(sqlite_url: str, valkey_url: str, receiver: Receiver) -> AsyncIterator[Patient]:
    async with open_api(sqlite_url, valkey_url, retry_schedule="none", disable_after_failures=2) as api:
        await api.register(receiver.url("/hook"))
        yield Patient(api, receiver)


def test_every_alert_is_tried() -> None:
    assert set(BREAKS) == set(ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_names_a_section_of_the_runbook_that_names_it(alert: str) -> None:
    page, _, anchor = ALERTS[alert]["annotations"]["runbook"].partition("#")
    assert (ROOT / page).is_file()
    sections = {
        re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-"): text
        for head, text in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    }
    assert alert in sections[anchor]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool, which judges the rules, is not installed here")
async def test_every_alert_fires_when_the_thing_is_broken(patient: Patient, tmp_path: Path) -> None:
    cases = []
    for alert, break_it in BREAKS.items():
        await mend(patient)
        before = await patient.scrape()
        cases.append(case(alert, before, await break_it(patient)))
    file = tmp_path / "broken.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": cases}))
    done = await asyncio.to_thread(
        subprocess.run, ["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


async def mend(patient: Patient) -> None:
    """A worker is there, everything is delivered, and what was broken is whole."""
    api = patient.api
    api.asgi.state.context = api.app.context
    await api.app.context.redis.delete(DELIVERIES)
    await api.app.context.redis.zadd(WORKERS_KEY, {"worker": api.app.clock.now().timestamp()})
    api.app.clock.advance(api.app.context.settings.lease_seconds + 1)
    await api.app.work()
    for webhook in (await api.get("/api/v1/webhooks")).json():
        await api.patch(f"/api/v1/webhooks/{webhook['id']}", {"is_active": True})
    await api.app.work()
    await api.app.context.redis.zadd(WORKERS_KEY, {"worker": api.app.clock.now().timestamp()})


def case(alert: str, before: Series, after: Series) -> dict[str, Any]:
    """A test of promtool: quiet while the metrics are as before, firing when they are as after.

    Counters go on as they went during the break.
    """
    judged = set(re.findall(r"[a-z_]+", ALERTS[alert]["expr"]))
    names = [name for name in before | after if name.partition("{")[0] in judged]
    firing = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'
    return {
        "name": alert,
        "interval": "1m",
        "input_series": [{"series": name, "values": course(name, before.get(name), after.get(name))} for name in names],
        "promql_expr_test": [
            {"expr": firing, "eval_time": f"{WELL_MINUTES - 1}m", "exp_samples": []},
            {
                "expr": firing,
                "eval_time": f"{WELL_MINUTES + BROKEN_MINUTES - 1}m",
                "exp_samples": [{"labels": "{}", "value": 1}],
            },
        ],
    }


def course(name: str, before: float | None, after: float | None) -> str:
    well = f"_x{WELL_MINUTES}" if before is None else f"{before}x{WELL_MINUTES}"
    if after is None:
        return well
    is_counter = re.match(r"[a-z_]+_(total|count|bucket|sum)\b", name) is not None
    step = max(0.0, after - (before or 0.0)) if is_counter else 0.0
    return f"{well} {after}+{step}x{BROKEN_MINUTES}"


def test_promtool_finds_nothing_to_say_about_the_metrics(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool, which checks names and types of metrics, is not installed here")
    page = metrics.exposition(metrics.INSTALLATION, metrics.WORKER)
    done = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
