"""`python -m sendoff.cli`: the command `sendoff`, for processes that start it without knowing where it is installed."""

from sendoff.cli.main import app

app(prog_name="sendoff")
