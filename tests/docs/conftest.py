from __future__ import annotations

from tests.web.conftest import small_world

__all__ = ["small_world"]
