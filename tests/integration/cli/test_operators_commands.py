"""The commands that answer an operator at night, on a database without servers."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.seeded import URLS, Seeded, run
from tests.support.shell import Shell


def read(shell: Shell, seeded: Seeded, *arguments: str, code: int = 0, **more: str) -> Any:
    done = run(shell, seeded, *arguments, "--json", **more)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def test_the_overview_counts_what_waits_and_says_that_no_worker_runs(anywhere: Seeded, shell: Shell) -> None:
    overview = read(shell, anywhere, "top")
    assert overview["deliveries"]["waiting"] == len(anywhere.deliveries) - 1
    assert overview["dead_letters"] == {"open": 1, "by_reason": {"retries_exhausted": 1}}
    shown = run(shell, anywhere, "top", "--once").stdout
    assert "1 open  retries_exhausted 1" in shown
    assert "active 3" in shown
    assert read(shell, anywhere, "workers", code=1)["data"] == []
    assert "sendoff worker" in run(shell, anywhere, "workers").stderr
    unhealthy = read(shell, anywhere, "health", code=1)
    assert (unhealthy["status"], unhealthy["failing"], unhealthy["warnings"]) == ("not_ready", ["workers"], [])
    assert "sendoff worker" in unhealthy["message"]


def test_the_doctor_names_what_is_wrong_with_its_remedy(seeded: Seeded, shell: Shell) -> None:
    report = read(shell, seeded, "doctor", code=1)
    found = {one["name"]: one for one in report["findings"]}
    assert found["workers"]["status"] == "wrong"
    assert found["secrets"]["status"] == found["database"]["status"] == found["schema"]["status"] == "ok"
    assert found["redis"]["status"] == "ok"
    wrong_key = run(shell, seeded, "doctor", SENDOFF_SECRET_KEYS="z" * 40)
    assert "✗ secrets" in wrong_key.stdout
    assert "Add that key to SENDOFF_SECRET_KEYS" in wrong_key.stdout
    away = run(shell, seeded, "doctor", SENDOFF_DATABASE_URL="postgresql+asyncpg://u@127.0.0.1:1/none")
    assert (away.returncode, "✗ database" in away.stdout) == (1, True)
    misspelled = run(shell, seeded, "doctor", SENDOFF_BRAN="x")
    assert (misspelled.returncode, "did you mean SENDOFF_BRAND" in misspelled.stdout) == (1, True)


def test_the_configuration_is_shown_with_its_origin_and_without_secrets(seeded: Seeded, shell: Shell) -> None:
    mail = "smtp://me:hidden@mail.example"
    done = run(shell, seeded, "config", "show", "--json", SENDOFF_SMTP_URL=mail, SENDOFF_SMTP_FROM="a@b.example")
    rows = {one["setting"]: one for one in json.loads(done.stdout)["data"]}
    assert rows["SENDOFF_DATABASE_URL"]["origin"] == "environment"
    assert rows["SENDOFF_RETENTION_DAYS"] == {"setting": "SENDOFF_RETENTION_DAYS", "value": 30, "origin": "default"}
    assert rows["SENDOFF_SECRET_KEYS"]["value"] == ["***"]
    assert "k" * 40 not in done.stdout
    assert "hidden" not in done.stdout


def test_endpoints_are_found_by_a_part_of_their_url_and_by_failures(anywhere: Seeded, shell: Shell) -> None:
    [found] = read(shell, anywhere, "endpoints", "list", "--url", "CRM.example")["data"]
    assert found["url"] == "https://crm.example/in"
    assert read(shell, anywhere, "endpoints", "list", "--failing")["data"] == []
    assert len(read(shell, anywhere, "endpoints", "list", "--sort", "failures")["data"]) == len(anywhere.endpoints)
    assert read(shell, anywhere, "endpoints", "show", found["id"][-8:])["id"] == found["id"]
    rotated = read(shell, anywhere, "endpoints", "rotate-secret", found["id"], "--overlap", "1h")
    assert len(rotated["secret"]) >= 32
    actions = [one["action"] for one in read(shell, anywhere, "audit-log")["data"]]
    assert actions[0] == "endpoint.rotate_secret"


def test_a_test_event_is_shown_and_not_sent_in_a_dry_run(seeded: Seeded, shell: Shell) -> None:
    arguments = ("endpoints", "test", seeded.endpoints[0], "--data", '{"n": 7}', "--dry-run")
    trial = read(shell, seeded, *arguments)
    assert trial["matched"] is True
    assert json.loads(trial["request"]["body"])["data"] == {"n": 7}
    assert trial["response"] is None
    other = read(shell, seeded, *arguments, "--type", "upload.failed", code=1)
    assert other["matched"] is False


def test_an_event_is_published_from_the_command_line(seeded: Seeded, shell: Shell, tmp_path: Path) -> None:
    content = tmp_path / "data.json"
    content.write_text('{"n": 1}')
    for data in ('{"n": 1}', f"@{content}"):
        event = read(shell, seeded, "trigger", "upload.completed", "--org", seeded.organization, "--data", data)
        assert event["deliveries"] == len(seeded.endpoints)
    for arguments, reason in (
        (("trigger", "upload.completed", "--data", "{}"), "--org"),
        (("trigger", "upload.completed", "--org", seeded.organization, "--data", "[1]"), "object"),
        (("trigger", "upload.completed", "--org", seeded.organization, "--data", "@/nowhere"), "cannot be read"),
        (("trigger", "upload.compleeted", "--org", seeded.organization), "Unknown event type"),
    ):
        refused = run(shell, seeded, *arguments)
        assert refused.returncode in (1, 2)
        assert reason in refused.stderr.replace("\n", " ")


def test_rows_past_their_retention_are_counted_and_then_removed(anywhere: Seeded, shell: Shell) -> None:
    assert read(shell, anywhere, "retention", "run", "--dry-run") == {
        "delivered": 0,
        "dead_letters": 0,
        "events": 0,
    }
    assert read(shell, anywhere, "retention", "run")["dead_letters"] == 0


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_a_completion_script_knows_commands_and_their_options(name: str, seeded: Seeded, shell: Shell) -> None:
    script = run(shell, seeded, "completion", name).stdout
    assert "dead-letters" in script
    assert "dry-run" in script


def test_bash_completes_nested_commands_and_options(seeded: Seeded, shell: Shell, tmp_path: Path) -> None:
    script = tmp_path / "completion.bash"
    script.write_text(run(shell, seeded, "completion", "bash").stdout)

    def complete(*words: str) -> list[str]:
        listed = " ".join(f"'{word}'" for word in ("sendoff", *words))
        source = f"source {script}; COMP_WORDS=({listed}); COMP_CWORD={len(words)}; _sendoff; echo ${{COMPREPLY[@]}}"
        return subprocess.run(["bash", "-c", source], capture_output=True, text=True, check=True).stdout.split()

    assert complete("dea") == ["dead-letters"]
    assert complete("deliveries", "re") == ["retry"]
    assert "--event-type" in complete("deliveries", "list", "--ev")
    assert complete("deliveries", "show", "0199", "--j") == ["--json"]


def test_a_flag_wins_over_the_environment(seeded: Seeded, shell: Shell, tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    assert shell.run(["migrate", "--data", data], {"PATH": "/usr/bin:/bin"}).returncode == 0
    assert read(shell, seeded, "orgs", "list", "--data", data)["data"] == []
    assert len(read(shell, seeded, "orgs", "list")["data"]) == 1
    both = run(shell, seeded, "orgs", "list", "--data", data, "--profile", "prod")
    assert (both.returncode, "--profile" in both.stderr) == (2, True)


def test_an_event_is_found_by_what_people_know_of_it_and_explained(anywhere: Seeded, shell: Shell) -> None:
    oldest, newest = anywhere.events
    assert [one["id"] for one in read(shell, anywhere, "events", "list")["data"]] == [newest, oldest]
    request = read(shell, anywhere, "events", "list", "--request-id", "req_0123456789abcdef")["data"]
    assert {one["id"] for one in request} == {newest, oldest}
    for given in ("order-1", oldest, f"…{oldest[-8:]}", oldest[-8:]):
        explained = read(shell, anywhere, "events", "explain", given)
        assert explained["event"]["id"] == oldest
        assert len(explained["endpoints"]) == len(anywhere.endpoints)
    [of_anybody] = read(shell, anywhere, "events", "list", "--contains", "order-1")["data"]
    [own] = read(shell, anywhere, "events", "list", "--contains", "order-1", "--org", anywhere.organization)["data"]
    assert (own["id"], own) == (oldest, of_anybody)
    shown = read(shell, anywhere, "events", "show", "order-2")
    assert (shown["id"], shown["data"]) == (newest, {"order": "order-2"})
    text = run(shell, anywhere, "events", "show", "order-1", COLUMNS="80").stdout
    assert "Dead-lettered" in text
    assert "crm.example/in" in text
    unknown = run(shell, anywhere, "events", "explain", "order-99")
    assert (unknown.returncode, "No event matches" in unknown.stderr) == (1, True)


def test_everything_that_an_endpoint_lacks_is_sent_with_one_command(seeded: Seeded, shell: Shell) -> None:
    letter = read(shell, seeded, "dead-letters", "show", seeded.dead_letter)
    started = read(shell, seeded, "endpoints", "retry", letter["endpoint_id"], "--yes")
    assert started["total"] >= 1
    asked = run(shell, seeded, "endpoints", "retry", letter["endpoint_id"])
    assert (asked.returncode, "--yes" in asked.stderr) == (2, True)


def test_keys_of_all_organizations_are_listed(seeded: Seeded, shell: Shell) -> None:
    assert len(read(shell, seeded, "keys", "list")["data"]) == 2
    assert read(shell, seeded, "orgs", "show", seeded.organization[-8:])["name"] == "Acme"


def test_attempts_are_listed_as_they_end(anywhere: Seeded, shell: Shell) -> None:
    lines = run(shell, anywhere, "tail", "--once", "--failed", "--json").stdout.splitlines()
    [attempt] = [json.loads(line) for line in lines]
    assert (attempt["outcome"], attempt["response_status"]) == ("http_error", 500)
    assert attempt["endpoint_url"] in URLS
    shown = run(shell, anywhere, "tail", "--once").stdout
    assert "try 7  500" in shown
    assert run(shell, anywhere, "tail", "--once", "--endpoint", anywhere.endpoints[0], "-n", "0").stdout == ""


def test_open_dead_letters_are_discarded_together_after_they_were_counted(seeded: Seeded, shell: Shell) -> None:
    for arguments, reason in (((), "--all"), (("--reason", "retries_exhausted"), "--yes"), (("--all",), "--yes")):
        refused = run(shell, seeded, "dead-letters", "discard", *arguments)
        assert (refused.returncode, reason in refused.stderr) == (2, True)
    both = run(shell, seeded, "dead-letters", "discard", seeded.dead_letter, "--all")
    assert both.returncode == 2
    assert read(shell, seeded, "dead-letters", "discard", "--reason", "retries_exhausted", "--yes")["discarded"] == 1
    assert read(shell, seeded, "dead-letters", "discard", "--all", "--yes")["discarded"] == 0
