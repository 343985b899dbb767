"""The picture of the demo in README: `sendoff demo 2>/dev/null | python -m tools.demo_picture` draws docs/demo.svg."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path

PICTURE = Path(__file__).parents[1] / "docs" / "demo.svg"

_COLUMNS, _CHARACTER, _LINE, _MARGIN = 112, 7.25, 17, 18
_COLORS = {"✓": "#7ee787", "✗": "#ff7b72", "━": "#79c0ff"}
_TEXT, _HEADING, _BACKGROUND = "#c9d1d9", "#ffffff", "#0d1117"
_HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="ui-monospace, SFMono-Regular, '
    'Menlo, Consolas, monospace" font-size="12">\n<title>What make demo prints</title>\n'
    '<rect width="100%" height="100%" rx="8" fill="{background}"/>'
)


def draw(text: str) -> str:
    """The lines of a terminal as SVG, wrapped, with marks and headings coloured."""
    lines = list(_wrap(["$ make demo", *text.strip("\n").splitlines()]))
    width = round(_COLUMNS * _CHARACTER + 2 * _MARGIN)
    parts = [_HEAD.format(width=width, height=len(lines) * _LINE + 2 * _MARGIN, background=_BACKGROUND)]
    for number, (line, color) in enumerate(lines):
        y = _MARGIN + (number + 1) * _LINE - 5
        parts.append(f'<text x="{_MARGIN}" y="{y}" xml:space="preserve" fill="{color}">{escape(line)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _wrap(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Lines that fit, each with the colour of the line that it was a part of."""
    for line in lines:
        indent = re.match(r"\s*(?:[✓✗]\s+[\d.]+ s\s+)?", line)
        room = " " * (len(indent[0]) if indent else 0)
        for part in textwrap.wrap(line, _COLUMNS, subsequent_indent=room, drop_whitespace=False) or [""]:
            yield part.rstrip(), _color(line)


def _color(line: str) -> str:
    mark = next((color for mark, color in _COLORS.items() if line.lstrip().startswith(mark)), None)
    return mark or (_HEADING if re.match(r"\d+\. |\$ ", line) else _TEXT)


if __name__ == "__main__":
    PICTURE.write_text(draw(sys.stdin.read()))
