"""A list of a command ends where its search did, on a database and on an API alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sendoff.cli.terminal.cursors import decode_cursor, encode_cursor
from sendoff.cli.terminal.installation import Call, Installation, LocalInstallation, RemoteInstallation
from sendoff.cli.terminal.output import Output, OutputFormat
from sendoff.cli.terminal.remote import Remote
from sendoff.ids import new_id, row_time
from sendoff.store.engine.paging import ScannedPage

END = new_id()
BACK_TO = row_time(END).isoformat(timespec="milliseconds")
ANSWER = {"data": [{"id": "newer"}], "next_cursor": encode_cursor(END), "scanned_back_to": BACK_TO}


def local(monkeypatch: pytest.MonkeyPatch) -> Installation:
    monkeypatch.setattr(LocalInstallation, "run", lambda _self, _work: ScannedPage([{"id": "newer"}], END))
    return LocalInstallation(Path("data"))


def remote(monkeypatch: pytest.MonkeyPatch) -> Installation:
    monkeypatch.setattr(Remote, "_ask", lambda _self, _client, _call: ANSWER)
    return RemoteInstallation(Remote.at("https://api.example", "key"))


@pytest.mark.parametrize("open_", [local, remote])
def test_a_search_that_ended_early_is_told_with_where_it_goes_on(
    open_: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def work(*_: Any) -> list[dict[str, Any]]:
        return []

    page = open_(monkeypatch).page(work, lambda row: row, Call("GET", "/list"), limit=50, before=None)
    assert page == ANSWER
    Output(OutputFormat.NDJSON).page(page, [])
    assert capsys.readouterr().err == f"Searched back to {BACK_TO}. Older ones: --before {encode_cursor(END)}\n"


def test_a_shortened_id_is_looked_for_beyond_the_first_page(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(_self: Remote, _client: object, call: Call) -> dict[str, Any]:
        """Pages as the list of events has them: `scanned_back_to` is null unless a search ended early."""
        last = int((decode_cursor(call.query.get("cursor")) or "evt_0").removeprefix("evt_"), 16)
        ids = [f"evt_{number:024x}" for number in range(last + 1, last + 101)]
        cursor = encode_cursor(ids[-1])
        return {"data": [{"id": id_} for id_ in ids], "next_cursor": cursor, "scanned": None, "scanned_back_to": None}

    monkeypatch.setattr(Remote, "_ask", answer)
    assert Remote.at("https://api.example", "key").find("event", "…0119") == f"evt_{0x119:024x}"
