"""Replays: what is chosen, what it comes to, and how it is sent again."""
