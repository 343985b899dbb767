"""`sendoff export` and `sendoff import`: move an installation's organizations, keys, endpoints and event types."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import orjson
import typer

from sendoff.audit import Actor
from sendoff.cli.terminal.installation import Call, Installation, RemoteInstallation
from sendoff.cli.terminal.options import command
from sendoff.cli.terminal.output import Output, print_json
from sendoff.cli.terminal.tables import Column
from sendoff.context import Context
from sendoff.operators.installation.transfer import audit_export, export_records, import_records

SEAL_KEY_HEADER = "Sendoff-Seal-Key"
_PATH = "/operator/v1"

SealKey = Annotated[
    str,
    typer.Option(
        "--seal-key",
        metavar="KEY",
        envvar="SENDOFF_SEAL_KEY",
        help="What endpoints' secrets are sealed with in the file: 32 characters or more. Better in the environment.",
    ),
]


@command
def export(
    on: Installation,
    out: Output,
    seal_key: SealKey,
    to: Annotated[Path | None, typer.Option(metavar="FILE", help="A new file; default: stdout.")] = None,
    org: Annotated[list[str] | None, typer.Option(metavar="ID", help="This organization only, repeatable.")] = None,
) -> None:
    """Write organizations, users, API keys as hashes, endpoints and event types as lines of JSON.

    Events and deliveries are not among them. Endpoints' secrets are sealed with --seal-key, which `import` needs.
    """
    organizations = [on.find("organization", one) for one in org] if org else None
    if isinstance(on, RemoteInstallation):
        written = _export_of_api(on, seal_key, organizations, to)
    else:
        written = on.run(lambda context, actor: _export(context, actor, seal_key, organizations, to))
    if not out.as_json:
        typer.echo(f"{written} records{f' in {to}' if to else ''}", err=True)
    elif to is not None:
        print_json({"records": written, "file": str(to)})


@command
def import_(
    on: Installation,
    out: Output,
    source: Annotated[Path, typer.Argument(metavar="FILE", help="What `sendoff export` wrote; - is standard input.")],
    seal_key: SealKey,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the file, and count.")] = False,
) -> None:
    """Create what an export holds and is not there yet: all of it, or nothing if a line is wrong. Safe to repeat."""
    if not dry_run:
        on.announce()
    with sys.stdin.buffer if str(source) == "-" else source.open("rb") as file:
        if isinstance(on, RemoteInstallation):
            imported = on.remote.upload(
                Call("POST", f"{_PATH}/import", {"dry_run": dry_run}), file.read(), {SEAL_KEY_HEADER: seal_key}
            )
        else:
            imported = on.run(lambda context, actor: _import(context, actor, file, seal_key, dry_run=dry_run))
    created, existing = imported["created"], imported["existing"]
    if out.as_json:
        print_json({"dry_run": dry_run, "created": created, "existing": existing})
        return
    kinds = dict.fromkeys((*created, *existing))
    rows = [{"kind": one, "created": created.get(one, 0), "existing": existing.get(one, 0)} for one in kinds]
    out.rows(rows, (Column("kind"), Column("created", right=True), Column("existing", right=True)))
    if dry_run:
        typer.echo("Nothing was changed.", err=True)


async def _export(
    context: Context, actor: Actor, seal_key: str, organizations: list[str] | None, to: Path | None
) -> int:
    """Write the export to the file or standard output; the number of its records."""
    records = export_records(context, seal_key=seal_key, organization_ids=organizations)
    header = await anext(records)
    await audit_export(context, actor, organizations or [])
    count = 0
    with _opened(to) as file:
        file.write(orjson.dumps(header) + b"\n")
        async for record in records:
            file.write(orjson.dumps(record) + b"\n")
            count += 1
    return count


def _export_of_api(on: RemoteInstallation, seal_key: str, organizations: list[str] | None, to: Path | None) -> int:
    call, lines = Call("GET", f"{_PATH}/export", {"organization_id": organizations}), 0
    with on.remote.download(call, {SEAL_KEY_HEADER: seal_key}) as pieces, _opened(to) as file:
        for piece in pieces:
            file.write(piece)
            lines += piece.count(b"\n")
    return lines - 1


async def _import(
    context: Context, actor: Actor, file: BinaryIO, seal_key: str, *, dry_run: bool
) -> dict[str, dict[str, int]]:
    imported = await import_records(context, actor, file, seal_key=seal_key, dry_run=dry_run)
    return {"created": dict(imported.created), "existing": dict(imported.existing)}


@contextmanager
def _opened(path: Path | None) -> Iterator[BinaryIO]:
    """The file, which must not exist yet and only this user may read, or standard output."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.flush()
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        yield file
