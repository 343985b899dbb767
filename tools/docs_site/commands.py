"""The page of the command line, from the commands themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import typer
from typer.core import TyperCommand, TyperGroup

from sendoff.cli.main import app
from sendoff.cli.terminal.commands import Commands
from tools.docs_site.markdown import cell, table

_HEAD = """# Command line

Generated from the commands. `sendoff COMMAND --help` shows the same. """


def render() -> str:
    """The page's text."""
    parts = [_HEAD + (app.info.epilog or "")]
    for name, command in find_commands():
        parts.append(_command(name, command))
    return "\n\n".join(parts) + "\n"


def find_commands() -> Iterator[tuple[str, TyperCommand | TyperGroup]]:
    """Each command that is not hidden, by its whole name, in the order of the help."""
    group = app.info.cls
    assert group is not None  # noqa: S101 - the program is a group
    assert issubclass(group, Commands)  # noqa: S101 - of this class
    for entry in group.table:
        if not entry.hidden:
            yield from _walk(f"sendoff {entry.name}", entry.load())


def _walk(name: str, command: TyperCommand | TyperGroup) -> Iterator[tuple[str, TyperCommand | TyperGroup]]:
    yield name, command
    if isinstance(command, TyperGroup):
        for child, found in command.commands.items():
            if isinstance(found, TyperCommand | TyperGroup) and not found.hidden:
                yield from _walk(f"{name} {child}", found)


def _command(name: str, command: TyperCommand | TyperGroup) -> str:
    context = typer.Context(command, info_name=name)
    parts = [f"{'###' if name.count(' ') > 1 else '##'} `{name}`", inspect.cleandoc(command.help or "")]
    if isinstance(command, TyperGroup):
        return "\n\n".join(parts)
    usage = " ".join(command.collect_usage_pieces(context))
    parts.append(f"```\n{name} {usage}\n```")
    records = [one.get_help_record(context) for one in command.params]
    rows = [(f"`{left}`", cell(right)) for left, right in (record for record in records if record)]
    if rows:
        parts.append(table(("option", "meaning"), rows))
    return "\n\n".join(part for part in parts if part)
