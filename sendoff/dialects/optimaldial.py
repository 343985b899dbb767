"""OptimalDial: the default dialect with that brand (OptimalDial contract, "Events and deliveries")."""

from __future__ import annotations

from sendoff.dialects.branded import BrandedDialect

OPTIMALDIAL = BrandedDialect(brand="OptimalDial", api_version="2026-04-23")
