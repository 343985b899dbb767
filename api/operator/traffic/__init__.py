"""The operators' routes on events, deliveries, dead letters and replays."""
