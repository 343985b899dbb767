"""Receivers to copy: complete programs without dependencies that verify an endpoint's requests, in five languages."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined

if TYPE_CHECKING:
    from sendoff.context import Context

LANGUAGES = {"python": "Python", "node": "Node.js", "go": "Go", "php": "PHP", "ruby": "Ruby"}
"""The languages, by the names of their programs in `api/pages/receivers`."""

_FOLDER = Path(__file__).parents[1] / "receivers"
_SCHEMES = {"stripe": "timestamped", "slack": "versioned"}
_STANDARD = {"standard": "standard", "standard-v1a": "asymmetric", "cloudevents": "standard"}


def receiver_code(context: Context, dialect: str, language: str) -> str:
    """A program that receives and verifies the dialect's requests."""
    own = context.dialects.default
    return (
        _programs()
        .get_template(f"{language}.txt")
        .render(
            scheme=_STANDARD.get(dialect, _SCHEMES[own.scheme]),
            header=own.signature_name,
            time_header=f"{own.prefix}Timestamp",
        )
    )


@cache
def _programs() -> Environment:
    return Environment(  # noqa: S701 - source code, which the pages that show it escape
        loader=FileSystemLoader(_FOLDER),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
