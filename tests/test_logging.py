"""Log lines never show the variables of a failing function: API keys and signing secrets are among them."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Literal

import pytest
import structlog

from sendoff.logging import configure_logging
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
    told = subprocess.run(
        [sys.executable, "-m", __name__, form], capture_output=True, text=True, timeout=60, check=True
    ).stderr
    assert told.count("ZeroDivisionError: division by zero") == 2
    assert told.count("in fail_twice") == 2
    assert "ssss" not in told
    if form == "json":
        lines = [json.loads(line) for line in told.splitlines()]
        assert [line["event"] for line in lines] == ["failed", "failed"]
        assert all("ZeroDivisionError: division by zero" in line["exception"] for line in lines)


if __name__ == "__main__":
    configure_logging(load(log_format=sys.argv[1], secret_keys=["k" * 32]))
    fail_twice()
