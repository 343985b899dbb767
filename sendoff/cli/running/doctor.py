"""`sendoff doctor`: what an installation needs, a line each."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import typer

from sendoff.cli.terminal.installation import Call, Installation, LocalInstallation, RemoteInstallation
from sendoff.cli.terminal.options import command
from sendoff.cli.terminal.output import Output, print_json
from sendoff.cli.terminal.values import printable
from sendoff.errors import SendoffError
from sendoff.operators.installation.doctor import Diagnosis, Status, examine, examine_settings

_MARKS = {Status.OK: ("✓", "green"), Status.WRONG: ("✗", "red"), Status.NOTE: ("!", "yellow")}

_START = "Start one with `sendoff worker`."


@command
def doctor(on: Installation, out: Output) -> None:
    """Look at settings, database, schema, secrets, Redis, queue, workers, clock, storage and egress, a line each.

    Exit code 1 if anything is wrong. Of another machine's API it looks at what can be seen from here.
    """
    findings = _examine_api(on) if isinstance(on, RemoteInstallation) else _examine_database(on)
    is_well = all(one.status is not Status.WRONG for one in findings)
    if out.as_json:
        print_json({"well": is_well, "findings": [asdict(one) for one in findings]})
    else:
        for one in findings:
            _print(one)
    if not is_well:
        raise typer.Exit(1)


def _examine_database(on: Installation) -> list[Diagnosis]:
    assert isinstance(on, LocalInstallation)  # noqa: S101 - the other kind was asked for before
    try:
        settings = on.settings()
    except SendoffError as error:
        return [Diagnosis("settings", Status.WRONG, str(error), "Correct what is named.")]
    findings = examine_settings(settings)
    try:
        return findings + on.run(lambda context, _: examine(context))
    except SendoffError as error:
        remedy = "Run `sendoff migrate`." if "migrate" in str(error) else "Start it, or correct SENDOFF_DATABASE_URL."
        return [*findings, Diagnosis("database", Status.WRONG, str(error), remedy)]


def _examine_api(on: RemoteInstallation) -> list[Diagnosis]:
    findings: list[Diagnosis] = []
    try:
        readiness: dict[str, Any] = on.remote.readiness()
    except SendoffError as error:
        return [Diagnosis("api", Status.WRONG, str(error), "Start it, or correct the URL.")]
    failing = readiness.get("failing") or []
    remedy = "Run `sendoff doctor` on that machine." if failing else None
    findings.append(Diagnosis("api", Status.WRONG if failing else Status.OK, ", ".join(failing) or "ready", remedy))
    remark = "fails or differs; it serves all the same"
    findings += [Diagnosis(name, Status.NOTE, remark) for name in readiness["warnings"]]
    try:
        found = on.remote.ask(Call("GET", "/operator/v1/workers"))["data"]
    except SendoffError as error:
        return [
            *findings,
            Diagnosis("key", Status.WRONG, str(error), "Use a key with the scope operator."),
        ]
    said = f"{len(found)} alive" if found else "no worker runs: nothing is delivered"
    return [*findings, Diagnosis("workers", Status.OK if found else Status.WRONG, said, None if found else _START)]


def _print(one: Diagnosis) -> None:
    mark, colour = _MARKS[one.status]
    lines = printable(one.said.replace("\n", "; "))
    typer.echo(f"{typer.style(mark, fg=colour)} {one.name:<10} {lines}")
    if one.remedy is not None:
        typer.echo(f"             → {one.remedy}")
