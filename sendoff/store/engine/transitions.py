"""SQL of state changes, made from the arrows of `policy/states.py`: which rows a trigger finds, what it makes of them.

A statement that sets a state takes both from here, so that it cannot write a change that is not declared.
"""

from __future__ import annotations

from enum import StrEnum

from sendoff.policy.states import Trigger


def found_by(trigger: Trigger, *sources: StrEnum, column: str = "state") -> str:
    """The condition that the row is in a state that the trigger starts from, or in those of them that are given.

    Raises ValueError for a state that it does not start from.
    """
    for source in sources:
        if source not in trigger.sources:
            raise ValueError(f"{trigger.name} does not start from {source}")
    states = [f"'{source}'" for source in sources or trigger.sources]
    return f"{column} = {states[0]}" if len(states) == 1 else f"{column} IN ({', '.join(states)})"


def made_by(trigger: Trigger, target: StrEnum | None = None) -> str:
    """The state that the trigger leads to, as a literal. Raises ValueError if it does not, or if several could be."""
    if target is None:
        (target,) = trigger.targets
    if target not in trigger.targets:
        raise ValueError(f"{trigger.name} does not lead to {target}")
    return f"'{target}'"
