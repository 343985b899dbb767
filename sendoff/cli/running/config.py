"""`sendoff config`: the settings in use, and where each comes from."""

from __future__ import annotations

from typing import Any

import typer
from pydantic import SecretStr

from sendoff.cli.terminal.installation import Installation, LocalInstallation, NeedsDatabase
from sendoff.cli.terminal.options import list_command
from sendoff.cli.terminal.output import Output
from sendoff.cli.terminal.tables import Column
from sendoff.policy.redaction import redact_url
from sendoff.processes.data_directory import is_set
from sendoff.settings import FORMER_NAMES, Settings

app = typer.Typer(help="The settings in use, and where each comes from.", no_args_is_help=True)

_COLUMNS = (Column("setting"), Column("value", least=20), Column("origin"))
_MASK = "***"


@app.command()
@list_command
def show(on: Installation, out: Output) -> None:
    """Every setting with its value, and where it comes from. Secrets are masked."""
    if not isinstance(on, LocalInstallation):
        raise NeedsDatabase
    settings, environment = on.settings(), on.environment
    directory = {"SENDOFF_DATABASE_URL", "SENDOFF_REDIS_URL", "SENDOFF_STORAGE_URL", "SENDOFF_SECRET_KEYS"}
    rows = []
    for field in Settings.model_fields:
        name = f"SENDOFF_{field.upper()}"
        former = next((old for old, new in FORMER_NAMES.items() if new == field and environment.get(old)), None)
        if is_set(name, environment):
            origin = "environment"
        elif former is not None:
            origin = f"environment, as {former}"
        else:
            origin = f"directory {on.data}" if name in directory else "default"
        rows.append({"setting": name, "value": _shown(getattr(settings, field)), "origin": origin})
    out.page({"data": rows}, _COLUMNS)


def _shown(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return _MASK
    if isinstance(value, list | tuple):
        return [_shown(one) for one in value]
    if isinstance(value, str) and "://" in value and "@" in value:
        return redact_url(value)
    return value if isinstance(value, bool | int | float) or value is None else str(value)
