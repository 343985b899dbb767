"""The top-level command group: imports a command when it is called, and reports every failure in a sentence."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from sendoff.errors import SendoffError, Unavailable
from sendoff.processes.process import without_garbage_collection

REFUSED = 1
WRONG_USAGE = 2
UNAVAILABLE = 3
INTERNAL_ERROR = 70

_PATH_OPTIONS = ("--data", "--schema", "--headers")
"""Options whose values are paths: unlike other arguments, these may be any bytes."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command that is imported when it is called: `attribute` of the module `module` below sendoff.cli."""

    name: str
    module: str
    attribute: str
    help: str
    hidden: bool = False

    def load(self) -> Any:
        """The click command."""
        with without_garbage_collection():
            found = getattr(import_module(f"sendoff.cli.{self.module}"), self.attribute)
        parent = typer.Typer(add_completion=False)
        if not isinstance(found, typer.Typer):
            parent.command(self.name)(found)
            return typer.main.get_command(parent)
        parent.add_typer(found, name=self.name)
        return typer.main.get_group(parent).commands[self.name]


class Commands(TyperGroup):
    """The group. `--help` lists the table of commands and imports none of them."""

    table: tuple[Command, ...] = ()

    @classmethod
    def of(cls, *commands: Command) -> type[Commands]:
        """A group with these commands, listed in this order."""
        return type("Commands", (cls,), {"table": commands})

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # Among these the library looks for the nearest one to a name that is misspelled.
        self.commands.update({name: self.get_command(None, name) for name in self.list_commands(None)})

    def list_commands(self, ctx: Any) -> list[str]:
        return [command.name for command in self.table]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command's name and help only; `resolve_command` loads what is called."""
        for command in self.table:
            if command.name == cmd_name:
                return TyperCommand(cmd_name, help=command.help, hidden=command.hidden)
        return None

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, found, rest = super().resolve_command(ctx, args)
        return name, found and next(command for command in self.table if command.name == name).load(), rest

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:
        """Run the command. Failures end in a sentence on standard error, as JSON if `--json` was given."""
        given = list(sys.argv[1:] if args is None else args)
        as_json = "--json" in given
        try:
            _refuse_unreadable(given)
            if not as_json:
                return super().main(given, *rest, **options)
            code = super().main(given, *rest, **{**options, "standalone_mode": False})
            sys.exit(code if isinstance(code, int) else 0)
        except SendoffError as error:
            _fail(str(error), UNAVAILABLE if isinstance(error, Unavailable) else REFUSED, as_json=as_json)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EPIPE, errno.EIO, errno.EDQUOT) and error.filename is None:
                _fail(f"The output could not be written: {error.strerror}.", REFUSED, as_json=as_json)
            _fail(str(error), REFUSED, as_json=as_json)
        except Exception as error:
            _fail_for(error, as_json=as_json)


def _fail_for(error: Exception, *, as_json: bool) -> NoReturn:
    """Report an error of the command line library, or an unexpected one."""
    format_message = getattr(error, "format_message", None)
    if format_message is not None:
        _fail(format_message(), getattr(error, "exit_code", WRONG_USAGE), as_json=as_json)
    if type(error).__name__ == "Abort":
        _fail("Aborted.", REFUSED, as_json=as_json)
    found = _root_cause(error)
    if isinstance(found, UnicodeError):
        _fail(
            "A name, path or variable is not valid UTF-8 text. Write it with other characters.",
            REFUSED,
            as_json=as_json,
        )
    if isinstance(found, OverflowError):
        _fail(f"A number is out of range: {found}. Use a smaller one.", WRONG_USAGE, as_json=as_json)
    text = (str(found).splitlines() or [""])[0]
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    where = f" ({Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno})" if frame else ""
    _fail(f"Internal error: {type(found).__name__}: {text}{where}. Please report it.", INTERNAL_ERROR, as_json=as_json)


def _root_cause(error: BaseException) -> BaseException:
    """The first error of the chain. Drivers make chains that lead back to themselves."""
    seen: list[BaseException] = []
    while error.__cause__ is not None and error not in seen:
        seen.append(error)
        error = error.__cause__
    return error


def _fail(message: str, code: int, *, as_json: bool) -> NoReturn:
    """End the process with `code` and the message on standard error; what cannot be written is not written."""
    safe = message.encode("utf-8", "backslashreplace").decode()
    text = json.dumps({"error": {"message": safe, "exit_code": code}}) if as_json else f"sendoff: {safe}"
    try:
        typer.echo(text, err=True)
        sys.stdout.flush()
    except OSError:
        # The interpreter flushes once more at its end, and would print a stack trace.
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 1)
    sys.exit(code)


def _refuse_unreadable(arguments: Sequence[str]) -> None:
    """Raise BadParameter for an argument that is not UTF-8 text, unless it is a path."""
    for number, argument in enumerate(arguments):
        path = (number > 0 and arguments[number - 1] in _PATH_OPTIONS) or argument.startswith(
            tuple(f"{option}=" for option in _PATH_OPTIONS)
        )
        if not path and not _is_text(argument) and arguments[0] not in ("sign", "verify"):
            safe = argument.encode("utf-8", "backslashreplace").decode()
            raise SendoffError(f"Argument {number + 1} is not valid UTF-8 text: {safe}. Write it in UTF-8.")


def _is_text(argument: str) -> bool:
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True
