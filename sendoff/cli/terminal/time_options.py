"""Times as people write them on a command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from sendoff.clock import SystemClock, parse_duration

Since = Annotated[
    str | None, typer.Option(metavar="TIME", help="From then on: `2h` or `30d` ago, or ISO 8601 (UTC without a zone).")
]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Before then, written likewise.")]


def parse_past(text: str | None, option: str) -> datetime | None:
    """The time that `2h` (ago) or an ISO 8601 time means."""
    if text is None:
        return None
    try:
        return SystemClock().now() - timedelta(seconds=parse_duration(text))
    except ValueError:
        pass
    except OverflowError:
        raise _too_far(text, option) from None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not a time; write for example 2h, 30d or 2026-04-24T12:00:00", param_hint=option
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def parse_future(text: str | None, option: str) -> datetime | None:
    """The time after a duration such as `30d`."""
    if text is None:
        return None
    try:
        return SystemClock().now() + timedelta(seconds=parse_duration(text))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
    except OverflowError:
        raise _too_far(text, option) from None


def _too_far(text: str, option: str) -> typer.BadParameter:
    return typer.BadParameter(f"{text!r} is out of range. Use at most 36500d (100 years).", param_hint=option)
