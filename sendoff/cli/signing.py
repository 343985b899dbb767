"""`sendoff verify` and `sendoff sign`: what a receiver checks, and requests to try a receiver with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from sendoff.cli.terminal.output import print_json, printable
from sendoff.clock import SystemClock
from sendoff.dialects.base import AttemptInfo, EventData, Headers
from sendoff.dialects.branded import FORMER_NAME
from sendoff.dialects.registry import Dialects
from sendoff.errors import SendoffError
from sendoff.ids import new_event_id, new_id
from sendoff.settings import Settings, load, parse_duration
from sendoff.startup import branded_dialect
from sendoff.verify import SCHEMES, Scheme, VerificationError, branded
from sendoff.verify import verify as verify_request

_NAMES = ", ".join(Dialects().names)

DialectOption = Annotated[
    str, typer.Option(metavar="NAME", help=f"{_NAMES}; `default` is this installation's own, by SENDOFF_BRAND.")
]
Secrets = Annotated[
    list[str],
    typer.Option(
        "--secret",
        metavar="SECRET",
        envvar="SENDOFF_WEBHOOK_SECRET",
        help="Repeatable, newest first. In the environment it stays out of the shell's history.",
    ),
]
BodyFile = Annotated[
    typer.FileBinaryRead, typer.Argument(metavar="[BODY]", help="The file with the raw body; default: standard input.")
]
At = Annotated[
    int | None, typer.Option(min=0, max=2**53, metavar="UNIX", help="The time to go by, in seconds; default: now.")
]


def verify(
    secret: Secrets,
    headers: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, metavar="FILE", help="The request's headers, a line each."),
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", metavar="LINE", help="A header, `Name: value`; repeatable.")
    ] = None,
    dialect: DialectOption = "default",
    tolerance: Annotated[str, typer.Option(metavar="TIME", help="How old the request may be, or how early.")] = "5m",
    at: At = None,
    body: BodyFile = "-",  # type: ignore[assignment]
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Check the signature of a request, and print its event. Exit code 1, and why, when it must not be believed."""
    lines = [*(headers.read_text(errors="replace").splitlines() if headers else ()), *(header or ())]
    try:
        seconds = parse_duration(tolerance)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--tolerance") from None
    scheme = _scheme(dialect, load())
    try:
        event = verify_request(scheme, _pairs(lines), body.read(), secret, seconds, None if at is None else float(at))
    except (VerificationError, ValueError) as error:
        _refuse(error, as_json=as_json)
        raise typer.Exit(1) from None
    if as_json:
        print_json({"valid": True, "event": event})
    else:
        typer.echo("\n".join(map(printable, json.dumps(event, indent=2, ensure_ascii=False).split("\n"))))


def sign(
    secret: Secrets,
    dialect: DialectOption = "default",
    event_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Default: the body's, or a new one.")
    ] = None,
    event_type: Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Default: the body's.")] = None,
    at: At = None,
    body: BodyFile = "-",  # type: ignore[assignment]
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Print the headers that a delivery of this body would carry, a line each, as `curl -H @FILE` reads them."""
    content = body.read()
    event_data = _event(content, event_id, event_type)
    timestamp = int(SystemClock().now().timestamp()) if at is None else at
    spoken = Dialects(branded_dialect(load())).get(dialect)
    try:
        signed = spoken.headers(event_data, AttemptInfo(new_id(), 1, timestamp), content, secret)
    except ValueError as error:
        raise SendoffError(f"This cannot be signed: {error}.") from None
    _print_headers(signed, as_json=as_json)


def _scheme(name: str, settings: Settings) -> Scheme:
    dialect = branded_dialect(settings)
    if name in (dialect.name, FORMER_NAME, dialect.brand, dialect.brand.lower()):
        return branded(
            dialect.brand,
            scheme=dialect.scheme,
            prefix=dialect.prefix,
            signature_header=dialect.signature_name,
        )
    if name not in SCHEMES:
        raise typer.BadParameter(f"unknown dialect {name!r}; use one of {_NAMES}", param_hint="--dialect")
    return SCHEMES[name]


def _pairs(lines: Sequence[str]) -> list[tuple[str, str]]:
    pairs = [line.partition(":") for line in lines if line.strip()]
    return [(name.strip(), value.strip()) for name, _, value in pairs]


def _event(content: bytes, event_id: str | None, event_type: str | None) -> EventData:
    envelope = _envelope(content)
    found = event_type or envelope.get("type")
    if not isinstance(found, str):
        raise typer.BadParameter("the body has no `type`; give one", param_hint="--type")
    identifier = event_id or envelope.get("id")
    return EventData(
        event_id=identifier if isinstance(identifier, str) else new_event_id(),
        type=found,
        organization_id="",
        occurred_at=SystemClock().now(),
        data=content,
    )


def _envelope(content: bytes) -> dict[str, Any]:
    try:
        envelope = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return envelope if isinstance(envelope, dict) else {}


def _refuse(error: Exception, *, as_json: bool) -> None:
    problem = error.problem if isinstance(error, VerificationError) else "bad_secret"
    if as_json:
        print_json({"valid": False, "problem": problem, "message": str(error)})
    typer.echo(f"sendoff: not valid ({problem}): {error}", err=True)


def _print_headers(headers: Headers, *, as_json: bool) -> None:
    if as_json:
        print_json(dict(headers))
        return
    for name, value in headers:
        typer.echo(f"{name}: {value}")
