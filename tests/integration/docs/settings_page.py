"""The page of settings and `.env.example`. To write both: `python -m tests.integration.docs.settings_page`."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from sendoff.settings import Settings

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "settings.md"

ENV_EXAMPLE = PAGE.parents[2] / ".env.example"

_HEAD = """# Settings

Read from the environment when a process starts, which reports all errors at once. A variable that is set to nothing
counts as not set; an unknown name with the prefix is an error. Durations are seconds unless the text says otherwise.

| setting | default | what it does |
|---|---|---|
"""


def render() -> str:
    """The page's text."""
    rows = (f"| `SENDOFF_{name.upper()}` | {_default(field)} | {field.description} |" for name, field in _fields())
    return _HEAD + "\n".join(rows) + "\n"


def _fields() -> list[tuple[str, FieldInfo]]:
    return list(Settings.model_fields.items())


def _default(field: FieldInfo) -> str:
    value: Any = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined or value is None or value == []:
        return "–"
    if isinstance(value, list):
        value = ",".join(f"{item:g}" if isinstance(item, float) else str(item) for item in value)
    if isinstance(value, bool):
        value = str(value).lower()
    if isinstance(value, str):
        value = value.replace(quote(str(Path.cwd())), "$PWD")
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def render_env_example() -> str:
    """The text of `.env.example`: every setting, commented out, with its default."""
    parts = ["# Every setting with its default. Remove the `#` in front of a name to set it."]
    for name, field in _fields():
        words = (field.description or "").replace("`", "")
        value = _default(field).strip("`").replace("–", "")
        parts.append(
            "\n".join(
                [
                    *textwrap.wrap(words, 110, initial_indent="# ", subsequent_indent="# "),
                    f"#SENDOFF_{name.upper()}={value}",
                ]
            )
        )
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render())
    ENV_EXAMPLE.write_text(render_env_example())
