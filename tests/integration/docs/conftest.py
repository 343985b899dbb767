from __future__ import annotations

from tests.integration.api.conftest import sqlite_api

__all__ = ["sqlite_api"]
