"""Where the two servers are, and how to start one: `sendoff web` and `sendoff worker` run them in the foreground.

An installed package carries them as `sendoff.api` and `sendoff.worker`; a checkout and the image have `api` and
`worker` next to `sendoff`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

import sendoff
from sendoff.cli.terminal.options import DEFAULT_DATA, Data
from sendoff.errors import SendoffError
from sendoff.processes.data_directory import DataDirectory, as_environment, is_set

ServerName = Literal["api", "worker"]


class NoServers(SendoffError):
    """The servers are missing from this installation: install the wheel, or run from a checkout or the image."""


def web(
    host: Annotated[str, typer.Option(metavar="HOST", help="Where the API listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="PORT", help="0 picks a free one.")] = 8000,
    data: Data = DEFAULT_DATA,
) -> None:
    """Run one API process, with the settings of the environment, or of DIR when SENDOFF_DATABASE_URL is not set."""
    _become("api", data, "--host", host, "--port", str(port))


def worker(data: Data = DEFAULT_DATA) -> None:
    """Run one worker process, with the settings of the environment, or of DIR when SENDOFF_DATABASE_URL is not set."""
    _become("worker", data)


def server_command(name: ServerName) -> tuple[str, ...]:
    """The command that starts the server. Raises NoServers when this installation has none."""
    # -P: an `api` in the current directory, which stays the user's, must not be taken for ours.
    return (sys.executable, "-P", "-m", f"sendoff.{name}" if _is_installed() else _checked(name))


def server_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment`, in which a server of a checkout is found as well."""
    if _is_installed():
        return dict(environment)
    paths = [str(_root()), *filter(None, [environment.get("PYTHONPATH")])]
    return {**environment, "PYTHONPATH": os.pathsep.join(paths)}


def _become(name: ServerName, data: Path, *arguments: str) -> NoReturn:
    """Replace this process by the server: signals and the exit code are the server's own."""
    environment = dict(os.environ)
    is_router = name == "api" and is_set("SENDOFF_CELLS", environment)  # which opens no database
    if not is_router and not is_set("SENDOFF_DATABASE_URL", environment):
        directory = DataDirectory.at(data)
        directory.require_database()
        environment |= as_environment(directory.settings())
    command = (*server_command(name), *arguments)
    os.execve(command[0], command, server_environment(environment))  # noqa: S606 - this product's own server


def _is_installed() -> bool:
    return find_spec("sendoff.api") is not None


def _checked(name: ServerName) -> str:
    if not (_root() / name / "__main__.py").exists():
        raise NoServers
    return name


def _root() -> Path:
    return Path(sendoff.__file__).parents[1]
