from __future__ import annotations

from tests.integration.api.conftest import small_world

__all__ = ["small_world"]
