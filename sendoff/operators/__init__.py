"""Operators' functions across organizations: queries, actions, replays, reconciliation."""
