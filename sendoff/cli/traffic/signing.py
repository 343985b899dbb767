"""`sendoff verify` and `sendoff sign`: what a receiver checks, and requests to try a receiver with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from sendoff.cli.terminal.output import print_json
from sendoff.cli.terminal.values import printable
from sendoff.clock import SystemClock, iso, parse_duration
from sendoff.dialects.base import AttemptInfo, EventData, Headers
from sendoff.dialects.registry import Dialects
from sendoff.errors import SendoffError
from sendoff.ids import new_event_id, new_id
from sendoff.processes.startup import branded_dialect
from sendoff.settings import load
from sendoff.verify import Explanation, Scheme, VerificationError, explain
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
    explained: Annotated[
        bool, typer.Option("--explain", help="Say what was signed and which usual mistake explains a failure.")
    ] = False,
    computed: Annotated[
        str | None,
        typer.Option(metavar="SIGNATURE", help="With --explain: what the receiver's own code calculated."),
    ] = None,
) -> None:
    """Check the signature of a request, and print its event. Exit code 1, and why, when it must not be believed."""
    if computed and not explained:
        raise typer.BadParameter("It is looked into with --explain only; add that.", param_hint="--computed")
    lines = [*(headers.read_text(errors="replace").splitlines() if headers else ()), *(header or ())]
    try:
        seconds = parse_duration(tolerance)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--tolerance") from None
    schemes = Dialects(branded_dialect(load())).receiver_schemes
    scheme = _find_scheme(dialect, schemes)
    pairs, content, now = _pairs(lines), body.read(), None if at is None else float(at)
    if explained:
        found = explain(scheme, pairs, content, secret, seconds, now, computed=computed, schemes=schemes)
        print_json(asdict(found)) if as_json else typer.echo("\n".join(map(printable, _explanation_lines(found))))
        raise typer.Exit(0 if found.valid else 1)
    try:
        event = verify_request(scheme, pairs, content, secret, seconds, now)
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


def _find_scheme(name: str, schemes: Mapping[str, Scheme]) -> Scheme:
    if name not in schemes:
        raise typer.BadParameter(f"unknown dialect {name!r}; use one of {_NAMES}", param_hint="--dialect")
    return schemes[name]


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


def _explanation_lines(found: Explanation) -> Iterator[str]:
    """An explanation for people, a line each."""
    yield f"{'Valid' if found.valid else 'Not valid'}."
    if found.timestamp is not None and found.age_seconds is not None:
        when = f"{abs(found.age_seconds):.0f} s {'before' if found.age_seconds >= 0 else 'after'} this check"
        yield f"Signed at          {iso(datetime.fromtimestamp(found.timestamp, UTC))}, {when}"
        yield f"Signed content     {found.signed_bytes:,} bytes: {found.signed_content}"
    for signature in found.signatures:
        yield f"In the headers     {signature}"
    for check in found.secrets:
        gives = check.problem or check.expected or ("made it" if check.matches else "did not make it")
        yield f"{check.label:<18} {gives}{'  matches' if check.matches else ''}"
    for finding in found.findings:
        yield ""
        yield f"{finding.message} ({finding.code})"
        yield finding.remedy


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
