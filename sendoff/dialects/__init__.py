"""Contracts on the wire: how each spells an envelope, its headers and its signature. Pure; no I/O."""
