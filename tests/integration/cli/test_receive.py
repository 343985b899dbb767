"""`sendoff receive`: started before the endpoint is registered, it answers the ping, then verifies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sendoff.cli.traffic.receive import Inbox, _printable
from sendoff.clock import SystemClock
from sendoff.dialects.base import AttemptInfo, EventData
from sendoff.dialects.optimaldial import OPTIMALDIAL
from sendoff.verify import SCHEMES

SECRET = "s" * 64


def signed(body: bytes, *, secret: str = SECRET) -> list[tuple[str, str]]:
    now = SystemClock().now()
    event = EventData("evt_1", "upload.completed", "org", now, body)
    return list(OPTIMALDIAL.headers(event, AttemptInfo("d", 1, int(now.timestamp())), body, [secret]))


def body_of(event_type: str) -> bytes:
    return json.dumps({"id": "evt_1", "type": event_type, "data": {"a": 1}}).encode()


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox(SCHEMES["default"], [], tmp_path / "secret", 204)


def test_without_a_secret_only_the_ping_is_acknowledged(inbox: Inbox) -> None:
    assert inbox.take(signed(body_of("webhook.ping")), body_of("webhook.ping"))[0] == 200
    for body in (body_of("upload.completed"), b"{", b"[]", b"[" * 100_000, b"\xff"):
        status, line = inbox.take(signed(body), body)
        assert status == 503
        assert "No secret is known" in line


def test_once_the_secret_is_there_deliveries_are_verified_and_others_refused(inbox: Inbox) -> None:
    assert inbox.secret_file is not None
    inbox.secret_file.write_text(f"old {SECRET}\n")
    body = body_of("upload.completed")
    assert inbox.take(signed(body), body) == (204, 'verified  upload.completed  evt_1  {"a": 1}  answered 204')
    status, line = inbox.take(signed(body, secret="another"), body)
    assert status == 401
    assert line.startswith("refused   no_signature_matches")
    assert inbox.take([], body_of("webhook.ping"))[0] == 401


def test_control_characters_of_a_request_do_not_reach_the_terminal() -> None:
    assert _printable("a\x1b[2J\r\nb") == "a�[2J��b"
    assert len(_printable("x" * 10_000)) <= 2_001
