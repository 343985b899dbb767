"""Draw the state machines of `sendoff/policy/states.py` into ARCHITECTURE.md: `python -m tools.state_diagrams`.

A diagram stands between `<!-- states: NAME -->` and `<!-- /states -->`; what is between them is replaced.
"""

from __future__ import annotations

import re
from pathlib import Path

from sendoff.policy.states import MACHINES

PAGE = Path(__file__).parent.parent / "ARCHITECTURE.md"

_BLOCK = re.compile(r"(<!-- states: (?P<name>[a-z ]+) -->\n).*?(<!-- /states -->)", re.DOTALL)


def draw_into(page: str) -> str:
    """The page with every block between markers redrawn. Raises KeyError for a name that is not a state machine's."""
    machines = {machine.name: machine for machine in MACHINES}

    def block(match: re.Match[str]) -> str:
        return f"{match[1]}\n```mermaid\n{machines[match['name']].mermaid()}\n```\n\n{match[3]}"

    return _BLOCK.sub(block, page)


def blocks() -> str:
    """A section for each machine, for a page that has none yet."""
    parts = [
        f"### {machine.name.capitalize()}\n\n<!-- states: {machine.name} -->\n<!-- /states -->" for machine in MACHINES
    ]
    return draw_into("\n\n".join(parts))


if __name__ == "__main__":
    PAGE.write_text(draw_into(PAGE.read_text()))
