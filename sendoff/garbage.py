"""The garbage collector, set for processes that hold many objects for ever and make many that die at once."""

from __future__ import annotations

import gc

_NEW_OBJECTS = 10_000
_YOUNG_PASSES, _OLD_PASSES = 20, 20


def settle() -> None:
    """To be called once a process has started: what exists now is not looked through again.

    Objects die by their reference counts; the collector is for cycles alone, which are few here. With CPython's
    defaults a worker spends a quarter of its time on looking for them among its modules and its deliveries under way.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, _YOUNG_PASSES, _OLD_PASSES)
