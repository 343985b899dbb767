from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from sendoff.cli.demo.phone_numbers import ROWS, make_csv
from sendoff.cli.local_stack.stack import ListenAddress
from sendoff.cli.main import app
from sendoff.cli.terminal.time_options import parse_future, parse_past
from sendoff.cli.terminal.values import for_people, printable
from sendoff.uploads.files.phone_numbers import parse_number


def test_a_time_in_the_past_is_written_as_an_age_or_as_a_date() -> None:
    two_hours_ago = datetime.now(UTC) - timedelta(hours=2)
    parsed = parse_past("2h", "--since")
    assert parsed is not None
    assert two_hours_ago <= parsed <= two_hours_ago + timedelta(minutes=1)
    assert parse_past("2026-04-24T12:00:00", "--since") == datetime(2026, 4, 24, 12, tzinfo=UTC)
    assert parse_past("2026-04-24T12:00:00+02:00", "--since") == datetime(2026, 4, 24, 10, tzinfo=UTC)
    assert parse_past(None, "--since") is None


@pytest.mark.parametrize("text", ["", "soon", "2 fortnights", "2026-13-01"])
def test_an_invalid_time_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_past(text, "--since")
    with pytest.raises(typer.BadParameter):
        parse_future(text, "--expires-in")


@pytest.mark.parametrize(("word", "nearest"), [("evnts", "events"), ("dead-leters", "dead-letters")])
def test_a_command_that_there_is_not_is_answered_with_the_nearest(
    word: str, nearest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        typer.main.get_command(app).main([word, "list", "--json"])
    assert f"Did you mean '{nearest}'" in capsys.readouterr().err


@given(st.text())
def test_printed_text_holds_no_control_characters(text: str) -> None:
    assert all(c.isprintable() or c == "\t" for c in printable(text))


def test_fields_are_shown_in_words() -> None:
    assert for_people(None) == "–"
    assert for_people(["a", "b"]) == "a, b"
    assert for_people(True) == "yes"
    assert for_people("2026-04-24T12:34:56.789+00:00") == "2026-04-24 12:34:56Z"
    assert for_people("\x1b[31mred") == "\\x1b[31mred"


@pytest.mark.parametrize(
    ("host", "url", "local_url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://0.0.0.0:80", "http://127.0.0.1:80"),
        ("::1", "http://[::1]:80", "http://[::1]:80"),
        ("::", "http://[::]:80", "http://[::1]:80"),
    ],
)
def test_an_address_is_shown_as_given_and_reached_on_loopback(host: str, url: str, local_url: str) -> None:
    assert ListenAddress(host, 80).url == url
    assert ListenAddress(host, 80).local_url == local_url


def test_the_list_of_the_demo_holds_a_thousand_different_valid_numbers() -> None:
    lines = make_csv().decode().splitlines()[1:]
    numbers = {parse_number(line.partition(",")[2]) for line in lines}
    assert None not in numbers
    assert len(numbers) == ROWS
