"""Decisions. Pure: no I/O, no clock, no random numbers of their own; what they need to know is passed in."""
