"""Linters of OpenAPI documents find nothing, by their own rules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.clients.conftest import Served
from tests.acceptance.clients.tools_here import find_tool, run

RULES = """
extends: [[spectral:oas, all]]
rules:
  contact-properties: off  # each installation has an operator of its own, whose address nothing here knows
"""

pytestmark = pytest.mark.chaos


def test_spectral_finds_nothing(served: Served, tmp_path: Path) -> None:
    spectral = find_tool("spectral")
    (tmp_path / "rules.yaml").write_text(RULES)
    run(spectral, "lint", served.document, "-r", "rules.yaml", "-f", "json", "--fail-severity", "hint",
               folder=tmp_path)  # fmt: skip


def test_redocly_finds_nothing(served: Served, tmp_path: Path) -> None:
    redocly = find_tool("redocly")
    said = run(redocly, "lint", served.document, "--format", "json", folder=tmp_path)
    assert json.loads(said)["totals"] == {"errors": 0, "warnings": 0, "ignored": 0}
