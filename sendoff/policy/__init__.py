"""Decisions. Pure: no I/O, no clock, no dice of their own; what they need to know is passed in."""
