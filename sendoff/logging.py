"""Log lines: key and value, for people or as JSON, one wide line per thing that happened."""

from __future__ import annotations

import logging
import sys

import structlog

from sendoff import __version__
from sendoff.policy.redaction import redact_mapping
from sendoff.settings import Settings


def configure_logging(settings: Settings) -> None:
    """Send this process's log lines to standard error in the settings' format."""
    renderer: structlog.typing.Processor
    if settings.log_format == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        # Plain traces: the default prints the frames' variables, API keys and signing secrets among them.
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *([_add_version] if settings.log_format == "json" else []),
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, _redact, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
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


def _add_version(_logger: object, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {"version": __version__, **line}


def _redact(_logger: object, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """The last word before a line is written: whatever it says, credentials are cut out, of stack traces as well."""
    return redact_mapping(line)
