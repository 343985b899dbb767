"""Log lines: keys and values, for people or as JSON, one wide line for each event."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import traceback
from collections.abc import Iterator
from types import TracebackType

import structlog

from sendoff import __version__
from sendoff.policy.redaction import redact_mapping
from sendoff.settings import Settings

_TRACES = {"exception", "stack"}
"""Fields of several lines."""

FORMER_EVENTS = {
    "attempts_not_recorded": "never_recorded",
    "backlog_claim_failed": "held_put_off",
    "clock_repair_failed": "not_brought_forward",
    "consumer_restarted": "arq_restarted",
    "enqueue_failed": "bell_not_rung",
    "future_times_repaired": "brought_forward",
    "housekeeping_failed": "put_off",
    "local_dispatch_failed": "direct_ring_failed",
    "record_delayed": "not_recorded_yet",
    "record_failed": "not_recordable",
    "replay_postponed": "replay_put_off",
    "requeue_failed": "not_put_off",
    "sweep_failed": "sweep_put_off",
    "upload_retry_scheduled": "upload_put_off",
    "waiting_for_database": "worker_waits",
}
"""Log events by their names, and the names that 0.1 gave them. Lines of these events carry the former name in the field
`event_was`, for one minor version, so that saved searches and alerts still match."""


def configure_logging(settings: Settings, *, process: str) -> None:
    """Send this process's log lines to standard error in the settings' format.

    `process` is `web`, `worker`, `consume`, `up` or `cli`. As JSON every line says it, with host, pid and version.
    Commands of the command line (`cli`) say only what is wrong: the rest is in what they print, and in the audit log.
    """
    level = "warning" if process == "cli" and settings.log_level == "info" else settings.log_level
    renderer: structlog.typing.Processor
    if settings.log_format == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        # Plain traces: the default prints the frames' variables, API keys and signing secrets among them.
        console = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )

        def renderer(logger: object, method: str, line: structlog.typing.EventDict) -> str:
            return console(logger, method, {key: _escape(key, value) for key, value in line.items()})

    format_exception = structlog.processors.ExceptionRenderer(_render_trace)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *([_Origin(process)] if settings.log_format == "json" else []),
        _add_former_name,
    ]
    structlog.configure(
        processors=[*shared, format_exception, _redact, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            format_exception,
            _redact,
            renderer,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    # Libraries' chatter (a line per request of httpx, per poll of arq) is not worth an operator's eyes.
    root.setLevel(logging.WARNING)


def log_dangers(settings: Settings) -> None:
    """Log each setting in use that must not be set in production. A server calls this at start."""
    for danger in settings.dangers():
        structlog.get_logger(__name__).warning("dangerous_setting", message=danger)


class _Origin:
    """Says on every line where it comes from."""

    def __init__(self, process: str) -> None:
        self._fields = {"process": process, "host": socket.gethostname(), "version": __version__}

    def __call__(self, _logger: object, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {**self._fields, "pid": os.getpid(), **line}


def _add_former_name(_logger: object, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    former = FORMER_EVENTS.get(line["event"])
    return line if former is None else {**line, "event_was": former}


def _redact(_logger: object, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Remove credentials from all of the line, stack traces included. Runs last, before the line is written."""
    return redact_mapping(line)


class _Escaped(str):
    """A text whose control characters are escaped already; structlog quotes texts with blanks by their `repr`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"'{self}'"


def _escape(key: str, value: object) -> object:
    """The value, unable to control a terminal or to start a log line. Traces keep the line breaks between frames."""
    if not isinstance(value, str) or key in _TRACES or value.isprintable():
        return value
    return _Escaped(_printable(value))


def _printable(text: str) -> str:
    """The text with control and other invisible characters escaped."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _render_trace(exc_info: tuple[type[BaseException], BaseException, TracebackType | None]) -> str:
    """Python's stack trace. Messages can be a sender's text: what is invisible in them is escaped, line breaks too.

    Within an exception group line breaks stay; there Python puts a margin in front of each line.
    """
    trace = "".join(traceback.format_exception(*exc_info)).rstrip("\n")
    for message in sorted(_messages(exc_info[1]), key=len, reverse=True):
        trace = trace.replace(message, _printable(message))
    return "\n".join(map(_printable, trace.split("\n")))


def _messages(error: BaseException) -> Iterator[str]:
    """The texts with invisible characters of an exception, its notes, its causes and its group's members."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        found = waiting.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        waiting += [found.__cause__, found.__context__]
        if isinstance(found, BaseExceptionGroup):
            waiting += found.exceptions
        with contextlib.suppress(Exception):  # an exception's own __str__ may fail
            yield from (text for text in (str(found), *getattr(found, "__notes__", ())) if not text.isprintable())
