"""`sendoff orgs suspend` and `resume`, without servers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.shell import Shell


@pytest.fixture
def environment(sqlite_url: str) -> dict[str, str]:
    return {"SENDOFF_DATABASE_URL": sqlite_url, "SENDOFF_SECRET_KEYS": "k" * 40, "PATH": "/usr/bin:/bin"}


def run(shell: Shell, environment: dict[str, str], *arguments: str) -> Any:
    done = shell.run([*arguments, "--json"], environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_organization_is_suspended_and_resumed_and_both_are_audited(
    shell: Shell, environment: dict[str, str]
) -> None:
    organization = run(shell, environment, "orgs", "create", "Acme")
    assert organization["suspended_at"] is None
    suspended = run(shell, environment, "orgs", "suspend", organization["id"])
    assert suspended["suspended_at"] is not None
    again = run(shell, environment, "orgs", "suspend", organization["id"])
    assert again["suspended_at"] == suspended["suspended_at"]
    assert run(shell, environment, "orgs", "list")["data"] == [suspended]
    assert run(shell, environment, "orgs", "resume", organization["id"]) == organization
    actions = [entry["action"] for entry in run(shell, environment, "audit-log")["data"]]
    assert actions == ["organization.resume", "organization.suspend", "organization.suspend", "organization.create"]


def test_an_unknown_organization_is_a_sentence_and_exit_code_1(shell: Shell, environment: dict[str, str]) -> None:
    done = shell.run(["orgs", "suspend", "0199c1f2-6f1e-7c3a-8f43-1f0c2f6d9a11"], environment)
    assert (done.returncode, "There is no organization" in done.stderr) == (1, True)
