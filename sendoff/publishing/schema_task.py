"""The check of an event's data by a JSON Schema, as a task of the sandbox: for checks of more than milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from sendoff.policy.json_schema import Violation, compile_schema


class CheckData(msgspec.Struct, frozen=True):
    """Does `data`, a JSON text, satisfy `data_schema`?"""

    data_schema: dict[str, Any]
    data: str

    def run(self, _progress: Callable[[int], object]) -> Violation | None:
        """The first violation, or None."""
        return compile_schema(self.data_schema).find_violation(self.data.encode())
