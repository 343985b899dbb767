"""`sendoff demo`: the main job, end to end, as it happens."""

from sendoff.cli.demo.command import demo

__all__ = ["demo"]
