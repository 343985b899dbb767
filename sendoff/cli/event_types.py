"""`sendoff event-types`: the types of events beyond the built-in ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from sendoff.cli.terminal.output import print_fields, print_json, print_table
from sendoff.cli.terminal.serializers import serialize_event_type
from sendoff.cli.terminal.session import DEFAULT_DATA, AsJson, Data, change, run_with_context
from sendoff.policy.matching import BUILT_IN_TYPES
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
def create(
    name: Name,
    schema: SchemaFile = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Register an event type, so that it can be published and subscribed to."""
    data_schema = _read_schema(schema) if schema else None
    created = change(
        data,
        lambda context, actor: event_types.create_event_type(context, actor, name=name, data_schema=data_schema),
    )
    (print_json if as_json else print_fields)(serialize_event_type(created))


@app.command()
def show(name: Name, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """A registered type with its schema."""
    found = run_with_context(data, lambda context, _: event_types.get_event_type(context, name))
    (print_json if as_json else print_fields)(serialize_event_type(found))


@app.command()
def update(
    name: Name,
    schema: SchemaFile = None,
    no_schema: Annotated[bool, typer.Option("--no-schema", help="Remove the schema: any `data` is accepted.")] = False,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Replace or remove the schema of a registered type, from the next publish on."""
    if (schema is None) is not no_schema:
        raise typer.BadParameter("Give either --schema FILE or --no-schema.", param_hint="--schema")
    data_schema = _read_schema(schema) if schema else None
    updated = change(
        data,
        lambda context, actor: event_types.update_event_type(context, actor, name=name, data_schema=data_schema),
    )
    (print_json if as_json else print_fields)(serialize_event_type(updated))


@app.command()
def delete(
    name: Name,
    force: Annotated[bool, typer.Option("--force", help="Even while endpoints subscribe to it.")] = False,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Remove a type: it can be neither published nor subscribed to. Accepted events are still delivered."""
    change(data, lambda context, actor: event_types.delete_event_type(context, actor, name=name, force=force))
    (print_json if as_json else print_fields)({"name": name, "deleted": True})


@app.command("list")
def list_(data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """The registered types, and the built-in ones."""
    registered = [
        serialize_event_type(one)
        for one in run_with_context(data, lambda context, _: event_types.list_event_types(context))
    ]
    built_in = [{"name": name, "created_at": None, "schema": None} for name in BUILT_IN_TYPES]
    rows = [one | {"built_in": False} for one in registered] + [one | {"built_in": True} for one in built_in]
    if as_json:
        print_json({"data": rows})
        return
    rows = [one | {"has_schema": one["schema"] is not None} for one in rows]
    print_table(rows, ["name", "built_in", "has_schema", "created_at"])


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
