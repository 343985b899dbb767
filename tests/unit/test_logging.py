"""Log lines never show the variables of a failing function: API keys and signing secrets are among them."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
import structlog

from sendoff import __version__
from sendoff.observability.logging import FORMER_EVENTS, configure_logging
from sendoff.settings import load


def fail_twice() -> None:
    """Log an exception the product's way and a library's way."""
    key = "od_live_" + "s" * 32
    for log in (structlog.get_logger("product"), logging.getLogger("library")):
        try:
            len(key) / 0
        except ZeroDivisionError:
            log.exception("failed")


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_logged_exception_shows_its_trace_without_variables(form: Literal["console", "json"]) -> None:
    # In a process of its own: logging is configured once for all of a process.
    output = subprocess.run(
        [sys.executable, "-m", __name__, form], capture_output=True, text=True, timeout=60, check=True
    ).stderr
    assert output.count("ZeroDivisionError: division by zero") == 2
    assert output.count("in fail_twice") == 2
    assert "ssss" not in output
    if form == "json":
        lines = [json.loads(line) for line in output.splitlines()]
        assert [line["event"] for line in lines] == ["failed", "failed"]
        assert all("ZeroDivisionError: division by zero" in line["exception"] for line in lines)


def refuse(text: str) -> None:
    raise ValueError(text)


def tell_secrets() -> None:
    """Secrets that must not be logged, the product's way and a library's way: in fields, in texts, in errors."""
    key, secret, signed = "od_live_" + "s" * 32, "whsec_" + "0s" * 16, "5a" * 32
    product, library = structlog.get_logger("product"), logging.getLogger("library")
    product.warning(
        "written", authorization="anything", error=f"with {key}", nested={"secret": "ssss", "list": [secret]}
    )
    library.warning("written %s and %s by Bearer ssss.ssss", key, signed)
    for log in (product, library):
        try:
            refuse(f"redis://:ssss@cache:6379 refused {key} {secret} {signed}")
        except ValueError:
            log.exception("failed")


@pytest.mark.parametrize("form", ["console", "json"])
def test_credentials_are_cut_out_of_lines_and_of_stack_traces(form: Literal["console", "json"]) -> None:
    output = subprocess.run(
        [sys.executable, "-m", __name__, form, "secrets"], capture_output=True, text=True, timeout=60, check=True
    ).stderr
    assert "anything" not in output
    assert "ssss" not in output
    assert "5a5a" not in output
    assert "0s0s" not in output
    assert output.count("ValueError: redis://cache:6379 refused od_live_[redacted]") == 2


def log_control_characters() -> None:
    """Text of a sender with escape sequences and line feeds: as a field, as an event, in errors, causes and notes."""
    product, library = structlog.get_logger("product"), logging.getLogger("library")
    hostile = "\x1b[2Jred\n2026-01-01 [info] forged\u202e\u009b31m\r"
    product.warning("shown", bare="\x1b]0;title\x07", spaced=hostile)
    library.warning("library got %s", hostile)
    for log in (product, library):
        try:
            try:
                refuse(hostile)
            except ValueError as error:
                error.add_note(f"note: {hostile}")
                raise ExceptionGroup("group", [RuntimeError(f"again: {hostile}"), error]) from error
        except ExceptionGroup:
            log.exception("failed")


@pytest.mark.parametrize("form", ["console", "json"])
def test_control_characters_of_senders_are_escaped(form: Literal["console", "json"]) -> None:
    written = subprocess.run(
        [sys.executable, "-m", __name__, form, "controls"], capture_output=True, text=True, timeout=60, check=True
    ).stderr
    assert not {character for character in written if not character.isprintable()} - {"\n"}
    assert not [line for line in written.splitlines() if line.startswith("2026-01-01")]
    assert written.count("again: ") >= 2
    assert written.count("note: ") >= 2
    assert "in log_control_characters" in written


def log_renamed_events() -> None:
    """Every event that has a former name, and one that has none."""
    for event in [*FORMER_EVENTS, "api_ready"]:
        structlog.get_logger("product").warning(event)
    logging.getLogger("library").warning("record_failed")


def test_a_renamed_event_carries_its_former_name() -> None:
    written = subprocess.run(
        [sys.executable, "-m", __name__, "json", "renamed"], capture_output=True, text=True, timeout=60, check=True
    ).stderr
    lines = [json.loads(line) for line in written.splitlines()]
    assert {line["event"]: line["event_was"] for line in lines if "event_was" in line} == FORMER_EVENTS
    assert [line["event"] for line in lines if "event_was" not in line] == ["api_ready"]
    for line in lines:  # the product's and the libraries'
        assert (line["process"], line["host"], line["version"]) == ("worker", socket.gethostname(), __version__)
        assert line["pid"] > 1


def test_every_renamed_event_is_logged_under_its_new_name_only() -> None:
    root = Path(__file__).parents[2]
    code = "".join(
        path.read_text()
        for package in ("sendoff", "api", "worker")
        for path in (root / package).rglob("*.py")
        if path.name != "logging.py"
    )
    assert [event for event in FORMER_EVENTS if f'"{event}"' not in code] == []
    assert [former for former in FORMER_EVENTS.values() if f'"{former}"' in code] == []


if __name__ == "__main__":
    configure_logging(load(log_format=sys.argv[1], secret_keys=["k" * 32]), process="worker")
    {"secrets": tell_secrets, "controls": log_control_characters, "renamed": log_renamed_events}.get(
        sys.argv[-1], fail_twice
    )()
