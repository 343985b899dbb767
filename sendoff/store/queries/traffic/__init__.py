"""Statements on events, deliveries, dead letters and replays, outside the hot path (`store/hot`)."""
