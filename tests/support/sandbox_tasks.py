"""Tasks for the sandbox's tests, each with one habit."""

from __future__ import annotations

import os
import re
import signal
import time

import msgspec

from sendoff.errors import Invalid, TooLarge
from sendoff.sandbox import Progress


class Echo(msgspec.Struct, frozen=True):
    """Returns its text, prints it, and reports its length."""

    text: str

    def run(self, progress: Progress) -> str:
        print(self.text)  # noqa: T201 - a library may print
        progress(len(self.text))
        return self.text


class WhoAmI(msgspec.Struct, frozen=True):
    """Returns the process's id."""

    def run(self, _progress: Progress) -> int:
        return os.getpid()


class Variables(msgspec.Struct, frozen=True):
    """Returns the names in the environment."""

    def run(self, _progress: Progress) -> list[str]:
        return list(os.environ)


class Backtrack(msgspec.Struct, frozen=True):
    """Holds the interpreter's lock in a regular expression for longer than anybody lives."""

    def run(self, progress: Progress) -> bool:
        progress(0)
        return re.fullmatch(r"(a+)+b", "a" * 60) is not None


class Sleep(msgspec.Struct, frozen=True):
    """Takes time and no CPU."""

    seconds: float

    def run(self, progress: Progress) -> float:
        progress(0)
        time.sleep(self.seconds)
        return self.seconds


class Allocate(msgspec.Struct, frozen=True):
    """Takes that much memory."""

    size: int

    def run(self, _progress: Progress) -> int:
        return len(bytearray(self.size))


class Refuse(msgspec.Struct, frozen=True):
    """Raises what a task may raise."""

    is_large: bool

    def run(self, _progress: Progress) -> None:
        if self.is_large:
            raise TooLarge("Too large; send less.")
        raise Invalid("Wrong; send something else.", field="data")


class Break(msgspec.Struct, frozen=True):
    """Raises what a task should not raise."""

    def run(self, _progress: Progress) -> None:
        raise ZeroDivisionError("by mistake")


class Die(msgspec.Struct, frozen=True):
    """Ends its process."""

    def run(self, _progress: Progress) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
