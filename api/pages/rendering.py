"""Templates: escaped always, undefined names are errors, and values in the spelling that people read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from sendoff import __version__
from sendoff.clock import iso
from sendoff.policy.remedies import advise_on_attempt

from .static_files import static_url
from .words import describe_success, say

_FOLDER = Path(__file__).parent / "templates"
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_SHORT_ID = 8
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|\+00:00)")
_CODE = re.compile("`([^`]+)`")
_SEPARATORS = re.compile(r"(?<=[^/:.?&=])(?=[/.?&=])")


@cache
def environment() -> Environment:
    """The templates of all pages."""
    templates = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    templates.globals.update(
        static=static_url,
        version=__version__,
        advise=advise_on_attempt,
    )
    templates.filters.update(
        iso=iso,
        span=describe_span,
        short_id=short_id,
        pretty_json=pretty_json,
        number=lambda value: f"{value:,}",
        from_unix=lambda seconds: datetime.fromtimestamp(seconds, UTC),
        clock=lambda seconds: datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M"),
        changes_to=changes_between,
        words=say,
        success=describe_success,
        code=mark_code,
        prose=lambda text: mark_code(_TIME.sub(r"\1 \2 UTC", text)),
        breakable=make_breakable,
        moment=lambda value: value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
    )
    return templates


def render(template: str, /, **values: Any) -> str:
    return environment().get_template(template).render(**values)


def describe_span(moment: datetime, now: datetime) -> str:
    """`5 min ago` or `in 2 h`: the distance of a moment from `now`, in its largest unit."""
    seconds = int((now - moment.astimezone(UTC)).total_seconds())
    unit, size = next(((unit, size) for unit, size in _UNITS if abs(seconds) >= size), ("s", 1))
    if seconds == 0:
        return "just now"
    return f"{seconds // size} {unit} ago" if seconds > 0 else f"in {-seconds // size} {unit}"


def mark_code(text: str) -> Markup:
    """A sentence in which what stands between backticks is shown as code. The text itself is escaped."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped first


def make_breakable(url: str) -> Markup:
    """A URL that may be broken into lines before its separators, and not within a word while there is another way."""
    return Markup("<wbr>").join(_SEPARATORS.split(url))


def short_id(identifier: str) -> str:
    """The end of an id, which differs between rows of one second where the beginning does not."""
    return f"…{identifier[-_SHORT_ID:]}" if len(identifier) > _SHORT_ID + 4 else identifier


def changes_between(
    before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> list[tuple[str, str | None, str | None]]:
    """Each field of an audit entry with its values; what was null and is null, or is new and null, is left out."""
    old, new = before or {}, after or {}
    rows = [(name, spell(old.get(name)), spell(new.get(name))) for name in dict.fromkeys([*old, *new])]
    return [row for row in rows if row[1:] != (None, None)]


def spell(value: Any) -> str | None:
    """A value of JSON as people read it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ", ".join(value) or "none"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else json.dumps(value, ensure_ascii=False)


def pretty_json(text: str) -> str:
    """JSON text with indentation; other text as it is. Numbers keep their spelling."""
    try:
        parsed = json.loads(text, parse_float=_Spelled, parse_int=_Spelled)
        return _indent(parsed, 0)
    except (ValueError, RecursionError):
        return text


class _Spelled(str):
    """A number as it was written."""

    __slots__ = ()


def _indent(value: Any, depth: int) -> str:
    inner, outer = "  " * (depth + 1), "  " * depth
    if isinstance(value, dict) and value:
        parts = [
            f"{inner}{json.dumps(key, ensure_ascii=False)}: {_indent(one, depth + 1)}" for key, one in value.items()
        ]
        return "{\n" + ",\n".join(parts) + f"\n{outer}}}"
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(inner + _indent(one, depth + 1) for one in value) + f"\n{outer}]"
    return str(value) if isinstance(value, _Spelled) else json.dumps(value, ensure_ascii=False)
