"""`sendoff event-types`: the types of events beyond the built-in ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from sendoff.cli.terminal import columns
from sendoff.cli.terminal.installation import Installation
from sendoff.cli.terminal.options import command, list_command
from sendoff.cli.terminal.output import Output
from sendoff.cli.terminal.serializers import serialize_event_type
from sendoff.policy.endpoints.matching import BUILT_IN_TYPES
from sendoff.publishing import event_types

app = typer.Typer(help="The types of events beyond the built-in ones.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Such as `invoice.paid`.")]
SchemaFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        exists=True,
        dir_okay=False,
        readable=True,
        help="A JSON Schema; the `data` of every event of this type must satisfy it when it is published.",
    ),
]


@app.command()
@command
def create(
    on: Installation,
    out: Output,
    name: Name,
    schema: SchemaFile = None,
) -> None:
    """Register an event type, so that it can be published and subscribed to."""
    data_schema = _read_schema(schema) if schema else None
    on.announce()
    created = on.run(
        lambda context, actor: event_types.create_event_type(context, actor, name=name, data_schema=data_schema)
    )
    out.document(serialize_event_type(created))


@app.command()
@command
def show(on: Installation, out: Output, name: Name) -> None:
    """A registered type with its schema."""
    found = on.run(lambda context, _: event_types.get_event_type(context, name))
    out.document(serialize_event_type(found))


@app.command()
@command
def update(
    on: Installation,
    out: Output,
    name: Name,
    schema: SchemaFile = None,
    no_schema: Annotated[bool, typer.Option("--no-schema", help="Remove the schema: any `data` is accepted.")] = False,
) -> None:
    """Replace or remove the schema of a registered type, from the next publish on."""
    if (schema is None) is not no_schema:
        raise typer.BadParameter("Give either --schema FILE or --no-schema.", param_hint="--schema")
    data_schema = _read_schema(schema) if schema else None
    on.announce()
    updated = on.run(
        lambda context, actor: event_types.update_event_type(context, actor, name=name, data_schema=data_schema)
    )
    out.document(serialize_event_type(updated))


@app.command()
@command
def delete(
    on: Installation,
    out: Output,
    name: Name,
    force: Annotated[bool, typer.Option("--force", help="Even while endpoints subscribe to it.")] = False,
) -> None:
    """Remove a type: it can be neither published nor subscribed to. Accepted events are still delivered."""
    on.announce()
    on.run(lambda context, actor: event_types.delete_event_type(context, actor, name=name, force=force))
    out.document({"name": name, "deleted": True})


@app.command("list")
@list_command
def list_(on: Installation, out: Output) -> None:
    """The registered types, and the built-in ones."""
    found = on.run(lambda context, _: event_types.list_event_types(context))
    registered = [serialize_event_type(one) | {"built_in": False} for one in found]
    built_in = [{"name": name, "created_at": None, "schema": None, "built_in": True} for name in BUILT_IN_TYPES]
    out.page({"data": registered + built_in}, columns.EVENT_TYPES)


def _read_schema(path: Path) -> dict[str, Any]:
    try:
        schema = orjson.loads(path.read_bytes())
    except ValueError as error:
        raise typer.BadParameter(f"{path} is not JSON: {error}. Correct the file.", param_hint="--schema") from None
    if not isinstance(schema, dict):
        raise typer.BadParameter(
            f"{path} is not a JSON Schema: write an object in it.",
            param_hint="--schema",
        )
    return schema
