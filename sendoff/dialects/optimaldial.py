"""OptimalDial: the house dialect with that brand (its public contract, "Events and deliveries")."""

from __future__ import annotations

from sendoff.dialects.branded import HouseDialect

OPTIMALDIAL = HouseDialect(brand="OptimalDial", api_version="2026-04-23")
