"""Alerts by e-mail: through a real mail server, with retries and reasons like every other delivery."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sendoff.endpoints.fields import NewAlertEndpoint
from sendoff.errors import BadSettings, PingFailed
from sendoff.operators import alert_endpoints
from sendoff.operators.installation.doctor import Status, examine
from sendoff.operators.queries import list_dead_letters
from sendoff.settings import load
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from sendoff.store.tables import Endpoint
from tests.integration.engine.test_operational_events import alert_at
from tests.support.app_fixture import ACTOR, AppFixture, open_app
from tests.support.mail_server import PASSWORD, USER, MailServer, mail_server
from tests.support.receiver import Receiver
from tests.support.tls import Authority

TO = "mailto:oncall@example.com"
FROM = "alerts@send.example.com"


@asynccontextmanager
async def open_mailing(database_url: str, server: MailServer, **settings: Any) -> AsyncIterator[AppFixture]:
    plain = {"smtp_url": f"smtp://127.0.0.1:{server.port}?starttls=off", "smtp_from": FROM}
    async with open_app(database_url, **{**plain, **settings}) as app:
        yield app


async def test_a_mail_is_sent_for_an_operational_event_and_counts_as_delivered(
    database_url: str, receiver: Receiver
) -> None:
    async with mail_server() as server, open_mailing(database_url, server, disable_after_failures=2) as app:
        alert = await alert_at(app, TO, "endpoint.disabled")
        assert alert.dialect == "email"
        assert "Alerts of Sendoff will come here" in server.text().replace("=\r\n", "")
        endpoint = (await app.register(receiver.url("/hook"))).endpoint
        receiver.program("/hook", 410)
        await app.publish()
        await app.work()
        assert len(server.taken) == 2
        envelope, text = server.taken[-1], server.text()
        assert (envelope.mail_from, envelope.rcpt_tos) == (FROM, ["oncall@example.com"])
        assert f"From: {FROM}\r\nTo: oncall@example.com\r\nSubject: [Sendoff]" in text
        assert endpoint.id in text.replace("=\r\n", "")
        async with app.transaction() as tx:
            found = await tx.get_one(Endpoint, alert.id)
        assert (found.consecutive_failures, found.last_success_at) == (0, app.clock.now())


async def test_a_mail_that_is_refused_is_tried_again_on_schedule_and_then_a_dead_letter(
    sqlite_url: str, receiver: Receiver
) -> None:
    async with mail_server() as server, open_mailing(sqlite_url, server, retry_schedule="1m,5m") as app:
        alert = await alert_at(app, TO, "endpoint.created")
        await app.register(receiver.url("/hook"))
        server.replies = ["451 try again later", "data: 552 mailbox full", "550 no such user"]
        for wait in (0, 60, 300):
            app.clock.advance(wait)
            await app.work()
        [letter] = (await list_dead_letters(app.context, DeadLetterFilter(endpoint_id=alert.id), limit=10)).rows
        assert (letter.reason, letter.attempt_count, letter.last_response_status) == ("retries_exhausted", 3, 550)
        assert len(server.taken) == 1  # the ping


async def test_a_mail_server_that_is_away_is_said_so_and_costs_a_retry_alone(
    sqlite_url: str, valkey_url: str, receiver: Receiver
) -> None:
    async with mail_server() as server, open_mailing(sqlite_url, server, redis_url=valkey_url) as app:
        await alert_at(app, TO, "endpoint.created")
        await app.register(receiver.url("/hook"))
        assert await look_at_alerts(app) == (Status.OK, "alert endpoints: 1")
        server.replies = ["451 try again later"]
        await app.work()
        status, said = await look_at_alerts(app)
        assert (status, said.startswith("1 of 1 alert endpoints fail")) == (Status.WRONG, True)
    async with mail_server() as gone:
        pass
    async with open_mailing(sqlite_url, gone, redis_url=valkey_url) as app:
        assert await look_at_alerts(app) == (
            Status.WRONG,
            "No connection to the mail server could be opened; check SENDOFF_SMTP_URL.",
        )
        with pytest.raises(PingFailed) as failed:
            await alert_at(app, TO)
        assert failed.value.underlying_error == (
            "No connection to the mail server could be opened; check SENDOFF_SMTP_URL."
        )


async def look_at_alerts(app: AppFixture) -> tuple[Status, str]:
    """What the doctor says of alerts."""
    [found] = [finding for finding in await examine(app.context) if finding.name == "alerts"]
    return found.status, found.said


async def test_without_a_mail_server_the_error_names_the_setting(sqlite_url: str) -> None:
    async with open_app(sqlite_url) as app:
        with pytest.raises(PingFailed) as failed:
            await alert_at(app, TO)
        assert "SENDOFF_SMTP_URL" in str(failed.value.underlying_error)


@pytest.mark.filterwarnings("ignore:Session.login_data", "ignore:auth_required", "ignore:Requiring AUTH")
@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_encrypted_and_with_a_password(sqlite_url: str, tmp_path: Path, scheme: str) -> None:
    authority = Authority(tmp_path)
    context = authority.server_context("127.0.0.1")
    tls = {"starttls": context} if scheme == "smtp" else {"tls": context}
    async with mail_server(**tls, with_user=True) as server:
        address = f"127.0.0.1:{server.port}"
        right = f"{scheme}://{USER}:{PASSWORD.replace(' ', '%20')}@{address}"
        async with open_mailing(sqlite_url, server, smtp_url=right, ca_file=authority.ca_file) as app:
            await alert_at(app, TO)
        assert len(server.taken) == 1
        wrong = f"{scheme}://{USER}:wrong@{address}"
        async with open_mailing(sqlite_url, server, smtp_url=wrong, ca_file=authority.ca_file) as app:
            with pytest.raises(PingFailed) as failed:
                await alert_at(app, TO)
            assert "refused the user name and password" in str(failed.value.underlying_error)
        async with open_mailing(sqlite_url, server, smtp_url=right) as app:
            with pytest.raises(PingFailed) as failed:
                await alert_at(app, TO)
            assert "No trusted encryption" in str(failed.value.underlying_error)
        assert len(server.taken) == 1


async def test_a_server_without_starttls_gets_no_mail_unless_the_setting_says_so(sqlite_url: str) -> None:
    async with mail_server() as server:
        url = f"smtp://127.0.0.1:{server.port}"
        async with open_mailing(sqlite_url, server, smtp_url=url) as app:
            with pytest.raises(PingFailed) as failed:
                await alert_at(app, TO)
            assert "STARTTLS" in str(failed.value.underlying_error)
        assert server.taken == []


async def test_a_mail_address_is_changed_for_another_and_for_nothing_else(sqlite_url: str, receiver: Receiver) -> None:
    async with mail_server() as server, open_mailing(sqlite_url, server) as app:
        created = await alert_endpoints.create_alert_endpoint(app.context, ACTOR, NewAlertEndpoint(url=TO))
        trial = await alert_endpoints.try_alert_endpoint(app.context, created.endpoint.id, dry_run=True)
        assert trial.request is not None
        assert b"Subject: [Sendoff] " in trial.request.body
        assert json.dumps(trial.request.headers) == "[]"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"smtp_url": "smtp://mail.example.com"}, "SENDOFF_SMTP_FROM"),
        ({"smtp_url": "https://mail.example.com", "smtp_from": FROM}, "must be written like smtp://"),
        ({"smtp_url": "smtp://u:hush@mail.example.com?starttls=off", "smtp_from": FROM}, "unencrypted"),
        ({"smtp_url": "smtp://u@mail.example.com", "smtp_from": FROM}, "both a user name and a password"),
        ({"smtp_url": "smtp://u:hush@mail.example.com:abc", "smtp_from": FROM}, "cannot be read"),
        ({"smtp_url": "smtp://mail.example.com?tls=no", "smtp_from": FROM}, "takes one option"),
        ({"smtp_url": "smtp://mail.example.com", "smtp_from": "Ada <ada@example.com>"}, "not an e-mail address"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_without_the_password(settings: dict[str, str], words: str) -> None:
    with pytest.raises(BadSettings, match=words) as refused:
        load(**settings)
    assert "hush" not in str(refused.value)
