"""`sendoff export` and `sendoff import`: from one installation to another of the other database and other keys."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path

from sendoff.processes.startup import open_context
from sendoff.settings import load
from sendoff.store.queries import endpoints
from tests.integration.cli.installation import environment_without_settings
from tests.integration.cli.seeded import Seeded, run
from tests.support.shell import Shell

SEAL = "s" * 40


def test_an_installation_moves_with_its_keys_and_secrets(
    seeded: Seeded, shell: Shell, postgres_url: str, valkey_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "export.ndjson"
    assert run(shell, seeded, "event-types", "create", "invoice.paid").returncode == 0
    done = run(shell, seeded, "export", "--to", str(file), SENDOFF_SEAL_KEY=SEAL)
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text()
    assert seeded.key not in text
    assert "s" * 20 not in text

    settings = {"database_url": postgres_url, "redis_url": valkey_url, "secret_keys": "other" * 10}
    target = environment_without_settings() | {f"SENDOFF_{name.upper()}": value for name, value in settings.items()}
    target |= {"SENDOFF_SEAL_KEY": SEAL}
    kinds = {"event_type": 1, "organization": 1, "user": 1, "membership": 1, "key": 2, "endpoint": 3}
    for arguments, created, existing in (
        (("--dry-run",), kinds, {}),
        ((), kinds, {}),
        ((), {}, kinds),
    ):
        done = shell.run(["import", str(file), "--json", *arguments], target)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert (report["created"], report["existing"]) == (created, existing)
    again = shell.run(["export"], target).stdout
    records = [[json.loads(line) for line in one.splitlines()[1:]] for one in (text, again)]
    for record in (*records[0], *records[1]):
        record.pop("secret", None)  # sealed again each time
    assert records[0] == records[1]
    assert asyncio.run(_read_secret(settings, seeded.endpoints[0])) == "s" * 40
    audit = json.loads(shell.run(["audit-log", "--json"], target).stdout)["data"]
    counts = [f"{count} {kind}" for kind, count in kinds.items()]
    assert [(one["action"], one["after"]) for one in audit] == [
        ("export", {"organizations": "all"}),
        ("import", {"created": counts}),
    ]


async def _read_secret(settings: dict[str, str], endpoint_id: str) -> str:
    async with open_context(load(**settings)) as context, context.database.read() as tx:
        endpoint = await endpoints.find(tx, endpoint_id)
        assert endpoint is not None
        return context.vault.open(endpoint.secret, bound_to=endpoint.id)


def test_a_file_that_is_wrong_somewhere_changes_nothing(seeded: Seeded, shell: Shell, tmp_path: Path) -> None:
    whole = run(shell, seeded, "export", SENDOFF_SEAL_KEY=SEAL).stdout.splitlines()
    organization = next(json.loads(line) for line in whole if '"kind":"organization"' in line)
    new = json.dumps(organization | {"id": "0199c1f2-6f1e-7c3a-8f43-1f0c2f6d9a11"})
    endpoint = next(line for line in whole if '"kind":"endpoint"' in line)
    file = tmp_path / "export"
    for lines, seal, reason in (
        ([new], SEAL, "Line 1: it is not the first line"),
        ([whole[0], new, "{"], SEAL, "Line 3: it is not JSON"),
        ([whole[0], new, '{"kind": "invoice"}'], SEAL, "unknown"),
        ([whole[0], new, '{"kind": "user", "id": "x"}'], SEAL, "is missing"),
        ([whole[0], new, json.dumps(organization | {"colour": "red"})], SEAL, "`colour`"),
        ([whole[0], new, endpoint], "t" * 40, "sealed with another key"),
        ([whole[0], new], "short", "32 or more"),
    ):
        file.write_text("\n".join(lines))
        done = run(shell, seeded, "import", str(file), SENDOFF_SEAL_KEY=seal)
        assert (done.returncode, reason in done.stderr) == (1, True), done.stderr
    organizations = json.loads(run(shell, seeded, "orgs", "list", "--json").stdout)["data"]
    assert [one["id"] for one in organizations] == [seeded.organization]
