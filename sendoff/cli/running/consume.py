"""`sendoff consume`: take events from a message broker."""

from __future__ import annotations

from typing import Annotated

import typer

from sendoff.cli.terminal.options import DEFAULT_DATA, Data
from sendoff.processes.data_directory import DataDirectory
from sendoff.processes.process import exit_on_sigterm_during_startup


def consume(
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="URL",
            help="Such as amqp://HOST?queue=NAME, nats://HOST?stream=NAME or kafka://HOST?topic=NAME. "
            "Default: SENDOFF_CONSUME_FROM.",
        ),
    ] = None,
    org: Annotated[
        str | None, typer.Option("--org", metavar="ID", help="Whose events they are, whatever the messages say.")
    ] = None,
    data: Data = DEFAULT_DATA,
) -> None:
    """Take events from RabbitMQ, NATS JetStream or Kafka, in the foreground, and publish each once.

    A message is a CloudEvent or the body of POST /api/v1/events. It is confirmed after its event is committed; what can
    never be accepted goes to the broker's dead-letter queue, and is listed by `sendoff rejected-messages`.
    """
    exit_on_sigterm_during_startup()  # importing what follows takes a second
    from sendoff.consuming.acceptance import MessageOwner
    from sendoff.consuming.process import Consumption, run
    from sendoff.consuming.source import EXAMPLES, parse_source

    directory = DataDirectory.at(data)
    directory.require_database()
    settings = directory.settings()
    given = source or (settings.consume_from.get_secret_value() if settings.consume_from else None)
    if given is None:
        raise typer.BadParameter(f"say where events come from: {EXAMPLES}", param_hint="--from")
    owner = MessageOwner(org or settings.consume_organization, settings.consume_organization_header.lower())
    raise typer.Exit(run(settings, Consumption(parse_source(given), owner)))
