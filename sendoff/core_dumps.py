"""A process that crashes leaves no image of its memory behind, which holds keys and signing secrets."""

from __future__ import annotations

import resource


def forbid_core_dumps() -> None:
    """For this process and those that it starts, for good."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
