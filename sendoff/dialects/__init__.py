"""Contracts on the wire: the envelope, headers and signature of each. Pure; no I/O."""
