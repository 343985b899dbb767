"""`sendoff event-types`: the types of events beyond the built-in ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import orjson
import typer

from sendoff.cli.terminal import columns
from sendoff.cli.terminal.installation import Call, Installation
from sendoff.cli.terminal.options import command, list_command
from sendoff.cli.terminal.output import Output
from sendoff.cli.terminal.serializers import serialize_event_type
from sendoff.endpoints.catalogue import list_catalogue
from sendoff.publishing import event_types

app = typer.Typer(help="The types of events beyond the built-in ones.", no_args_is_help=True)

_PATH = "/operator/v1/event-types"

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
    created = on.change(
        lambda context, actor: event_types.create_event_type(context, actor, name=name, data_schema=data_schema),
        serialize_event_type,
        Call("POST", _PATH, body={"name": name, "schema": data_schema}),
    )
    out.document(created)


@app.command()
@command
def show(on: Installation, out: Output, name: Name) -> None:
    """A registered type with its schema."""
    found = on.read(
        lambda context, _: event_types.get_event_type(context, name),
        serialize_event_type,
        Call("GET", _path_of(name)),
    )
    out.document(found)


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
    updated = on.change(
        lambda context, actor: event_types.update_event_type(context, actor, name=name, data_schema=data_schema),
        serialize_event_type,
        Call("PATCH", _path_of(name), body={"schema": data_schema}),
    )
    out.document(updated)


@app.command()
@command
def delete(
    on: Installation,
    out: Output,
    name: Name,
    force: Annotated[bool, typer.Option("--force", help="Even while endpoints subscribe to it.")] = False,
) -> None:
    """Remove a type: it can be neither published nor subscribed to. Accepted events are still delivered."""
    on.change(
        lambda context, actor: event_types.delete_event_type(context, actor, name=name, force=force),
        lambda _: None,
        Call("DELETE", _path_of(name), {"force": force}),
    )
    out.document({"name": name, "deleted": True})


@app.command("list")
@list_command
def list_(on: Installation, out: Output) -> None:
    """The built-in types, and the registered ones."""
    found = on.read(
        lambda context, _: list_catalogue(context),
        lambda types: {"data": [one.model_dump(mode="json", by_alias=True) for one in types]},
        Call("GET", _PATH),
    )
    out.page(found, columns.EVENT_TYPES)


def _path_of(name: str) -> str:
    return f"{_PATH}/{quote(name, safe='')}"


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
