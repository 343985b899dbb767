"""`sendoff`: every command by its name."""

from __future__ import annotations

from typing import Annotated

import typer

from sendoff import __version__
from sendoff.cli.terminal.commands import Command, Commands
from sendoff.processes.process import disable_core_dumps, make_files_private

app = typer.Typer(
    cls=Commands.of(
        Command("up", "running.up", "up", "Run everything on this machine: API, workers, Valkey."),
        Command("web", "local_stack.servers", "web", "Run the API process alone, in the foreground."),
        Command("worker", "local_stack.servers", "worker", "Run a worker process alone, in the foreground."),
        Command("consume", "running.consume", "consume", "Take events from RabbitMQ, NATS JetStream or Kafka."),
        Command("demo", "demo", "demo", "Show the main job end to end: publish, fail, retry, deliver, replay."),
        Command("dashboard", "running.dashboard", "dashboard", "A link that opens the operators' dashboard once."),
        Command("receive", "traffic.receive", "receive", "Run a local receiver that prints and verifies."),
        Command(
            "listen", "traffic.listen", "listen", "Show events as endpoints get them; pass them on to a local URL."
        ),
        Command("trigger", "traffic.trigger", "trigger", "Publish one event, such as to try an integration."),
        Command("migrate", "running.migrate", "migrate", "Bring the database's schema to this version's."),
        Command("orgs", "accounts.orgs", "app", "Organizations, their credits and their members."),
        Command("keys", "accounts.keys", "app", "API keys."),
        Command("portal-link", "accounts.portal_link", "portal_link", "A link that opens the customers' portal once."),
        Command("secrets", "accounts.secrets", "app", "The keys that encrypt secrets at rest (SENDOFF_SECRET_KEYS)."),
        Command("events", "traffic.events", "app", "Why an event was sent to an endpoint, or not."),
        Command("event-types", "accounts.event_types", "app", "The types of events beyond the built-in ones."),
        Command("endpoints", "accounts.endpoints", "app", "Every organization's endpoints."),
        Command(
            "alert-endpoints",
            "accounts.alert_endpoints",
            "app",
            "Where operational events go, such as Slack.",
        ),
        Command("deliveries", "traffic.deliveries", "app", "Any delivery, with its attempts."),
        Command("dead-letters", "traffic.dead_letters", "app", "Deliveries that were given up."),
        Command("rejected-messages", "traffic.rejected_messages", "app", "Messages of brokers that hold no event."),
        Command("replay", "traffic.replays", "replay", "Send dead letters or finished deliveries again."),
        Command("replays", "traffic.replays", "app", "Replays that were started, and their progress."),
        Command("workers", "running.overview", "workers", "The worker processes that are alive."),
        Command("tail", "traffic.tail", "tail", "Attempts as they happen, a line each."),
        Command("top", "running.overview", "top", "What waits, fails or is slow, and who works; refreshes itself."),
        Command("health", "running.overview", "health", "What fails of what is needed to accept events."),
        Command("doctor", "running.doctor", "doctor", "Look at all that is needed, with a remedy for what is wrong."),
        Command("config", "running.config", "app", "The settings in use, and where each comes from."),
        Command("retention", "running.retention", "app", "What is past its retention."),
        Command("completion", "completion", "completion", "Print a script that completes commands and options."),
        Command("export", "running.transfer", "export", "Write organizations, keys, endpoints and types to a file."),
        Command("import", "running.transfer", "import_", "Create what an export holds and is not there yet."),
        Command("profiles", "profiles", "app", "Names for the APIs of other machines, with their keys."),
        Command("audit-log", "running.audit_log", "audit_log", "Who changed or sent what, newest first."),
        Command("reconcile", "running.reconcile", "reconcile_command", "Check that events and deliveries add up."),
        Command("audit", "running.reconcile", "reconcile_command", "The former name of `reconcile`.", hidden=True),
        Command("verify", "traffic.signing", "verify", "Check the signature of a request, and print its event."),
        Command("sign", "traffic.signing", "sign", "Print the headers that a delivery of a body would carry."),
    ),
    help="Sendoff delivers webhooks: signed, retried for hours, never silently dropped.",
    epilog="Exit codes: 0 done; 1 refused, not found, or something does not add up; 2 wrong usage; "
    "3 a dependency is unavailable, try again; 70 an internal error; 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[  # noqa: ARG001 - its callback acts
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Sendoff delivers webhooks: signed, retried for hours, never silently dropped."""
    disable_core_dumps()
    make_files_private()
