"""`sendoff audit` as its users see it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.integration.cli.conftest import Install

LOST = "evt_019d00000000000000000000"


def lose_a_delivery(data: Path) -> None:
    """An event that was accepted with two deliveries, of which there is none."""
    with closing(sqlite3.connect(data / "sendoff.db")) as database, database:
        database.execute(
            "INSERT INTO events (id, organization_id, type, data, occurred_at, created_at, delivery_count)"
            " VALUES (?, ?, 'upload.completed', '{}', ?, ?, 2)",
            (LOST, "0" * 36, "2026-04-24T00:00:00.000000+00:00", "2026-04-24T00:00:00.000000+00:00"),
        )


def test_a_sound_installation_is_reported_as_clean_and_damage_with_its_remedy(install: Install) -> None:
    installation = install({})
    installation.json("migrate")
    assert installation.json("audit") == {
        "clean": True,
        "checked": {"events": 0, "deliveries": 0, "dead_letters": 0, "replays": 0},
        "counts": {},
        "findings": [],
    }
    assert installation.run("audit").stdout.splitlines()[-1] == "Everything adds up."

    lose_a_delivery(installation.data)
    damaged = installation.run("audit", "--json")
    assert damaged.returncode == 1
    report = json.loads(damaged.stdout)
    assert (report["clean"], report["counts"]) == (False, {"delivery_count": 1})
    [finding] = report["findings"]
    assert (finding["ids"], finding["expected"], finding["found"]) == ({"event_id": LOST}, 2, 0)
    assert "publish" in finding["remedy"]

    for_people = installation.run("audit", "--grace", "1h")
    assert for_people.returncode == 1
    assert LOST in for_people.stdout
    assert finding["what"] in for_people.stdout
    assert for_people.stdout.splitlines()[-1] == "1 does not add up."


def test_an_invalid_grace_period_is_refused(install: Install) -> None:
    refused = install({}).run("audit", "--grace", "soon")
    assert refused.returncode == 2
    assert "soon" in refused.stderr


def test_losses_of_a_restore_are_listed_without_a_log_too(install: Install) -> None:
    installation = install({})
    installation.json("migrate")
    installation.json("orgs", "create", "Acme")
    report = installation.json("audit", "--since-restore")
    assert (report["clean"], report["counts"]["unknown_events"]) == (True, 0)
    shown = installation.run("reconcile", "--since-restore").stdout
    assert "Without the log" in shown
    assert report["publish_again_since"] in shown
    missing = installation.run("reconcile", "--since-restore", "--log", "/nowhere.log")
    assert (missing.returncode, "/nowhere.log cannot be read" in missing.stderr) == (2, True)
    assert "needs --since-restore" in installation.run("reconcile", "--log", "x").stderr
