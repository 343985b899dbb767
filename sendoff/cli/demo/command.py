"""The command: runs the demo; its exit code says whether every step succeeded."""

from __future__ import annotations

import os
import signal

import typer

from sendoff.cli.demo.installation import run_installation
from sendoff.cli.demo.narrator import Narrator
from sendoff.cli.demo.receiver import run_receiver
from sendoff.cli.demo.story import tell
from sendoff.cli.demo.watching import DidNotHappen
from sendoff.clock import SystemClock
from sendoff.errors import SendoffError


def demo() -> None:
    """Show the main job end to end on this machine: register, upload, deliver, retry, dead-letter, replay.

    Takes about half a minute, uses a temporary directory and leaves nothing running. Exit code 0 only if all of it
    happened.
    """
    _forget_real_installations()
    narrator = Narrator(SystemClock())
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C does: open blocks stop what they started
    try:
        with run_receiver() as receiver, run_installation(narrator) as installation:
            tell(installation, receiver, narrator)
    except (DidNotHappen, SendoffError, OSError) as error:
        narrator.fail(str(error))
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        narrator.fail("Interrupted; everything is stopped.")
        raise typer.Exit(130) from None
    narrator.finish()


def _forget_real_installations() -> None:
    # The environment may name the user's real database, which a demo must not use.
    for name in [name for name in os.environ if name.upper().startswith("SENDOFF_")]:
        del os.environ[name]
