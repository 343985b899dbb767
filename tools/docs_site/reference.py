"""The reference that is generated from the code when the site is built: it cannot be stale."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics import MetricWrapperBase

from api.dialbird.errors import CODES
from api.http.errors import status_of
from sendoff import errors
from sendoff.errors import SendoffError
from sendoff.observability import metrics
from sendoff.observability.logging import FORMER_EVENTS
from sendoff.policy.delivery.attempt_result import NOT_PREPARED
from sendoff.policy.states import DeadLetterReason
from sendoff.verify import Problem
from sendoff.wire.errors import WireError
from tools.docs_site import commands, http_api, log_events
from tools.docs_site.markdown import cell, table

_METRICS_HEAD = """# Metrics

Prometheus text at `GET /metrics` of `sendoff web`, and on `SENDOFF_WORKER_METRICS_PORT` of workers. Labels never name a
tenant. Each process counts what it did itself: sum over processes.

"""
_LOG_EVENTS_HEAD = """# Log events

Lines are text or JSON (`SENDOFF_LOG_FORMAT`), from the level `SENDOFF_LOG_LEVEL` on. The name of the event is what to
search and alert by; a former name is in the field `event_was` for one minor version.

"""
_ERRORS_HEAD = """# Errors

## Answers of the API

`{"detail": …}`, and on the Dialbird surface `{"error": {"code": …}}`. The text of an error says what is wrong in this
case; the meaning here is that of its kind.

"""
_OUTCOMES_HEAD = """## Outcomes of attempts

The `outcome` of an attempt, of the log event `attempt_failed` and of the metric `sendoff_attempts_total`. An outcome
that is ours is not counted against the endpoint.

"""
_PROBLEMS_HEAD = """## Problems of a request

What receivers' verifiers say. The pages of the [dialects](dialects/index.md) say when.

"""
_REASONS_HEAD = """# Dead-letter reasons

Why a delivery was given up: the `reason` of dead letters and of the metric `sendoff_dead_letters_total`. The list is
closed. After the cause is gone, [replay](../how-to/runbook.md) them.

"""


def pages() -> dict[str, str]:
    """Every generated page, by its place on the site."""
    return {
        "reference/http-api.md": http_api.render(),
        "reference/command-line.md": commands.render(),
        "reference/metrics.md": render_metrics(),
        "reference/log-events.md": render_log_events(),
        "reference/errors.md": render_errors(),
        "reference/dead-letter-reasons.md": render_dead_letter_reasons(),
    }


def render_metrics() -> str:
    """The page of metrics."""
    rows = [
        (f"`{name}`", kind, ", ".join(f"`{label}`" for label in labels) or "–", cell(meaning))
        for name, kind, labels, meaning in sorted(find_metrics())
    ]
    return f"{_METRICS_HEAD}{table(('metric', 'type', 'labels', 'meaning'), rows)}\n"


def find_metrics() -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    """Name, type, labels and meaning of each metric of the product's own."""
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            for family in metric.describe():
                name = f"{family.name}_total" if family.type == "counter" else family.name
                yield name, family.type, tuple(metric._labelnames), family.documentation  # noqa: SLF001 - no other way
    yield "sendoff_build_info", "info", ("version", "python"), "The version that this process runs, and its Python."


def render_log_events() -> str:
    """The page of log events."""
    rows = [
        (
            f"`{event.name}`",
            ", ".join(sorted(event.levels)),
            log_events.MEANINGS.get(event.name, "–"),
            ", ".join(f"`{name}`" for name in event.fields) or "–",
            f"`{FORMER_EVENTS[event.name]}`" if event.name in FORMER_EVENTS else "–",
        )
        for event in log_events.find_events().values()
    ]
    return f"{_LOG_EVENTS_HEAD}{table(('event', 'level', 'meaning', 'fields', 'former name'), rows)}\n"


def render_errors() -> str:
    """The page of errors: of the API, of attempts and of verification."""
    parts = [
        _ERRORS_HEAD + table(("status", "error", "Dialbird code", "meaning"), _rows_of_errors()),
        _OUTCOMES_HEAD + table(("outcome", "whose", "meaning"), _rows_of_outcomes()),
        _PROBLEMS_HEAD + "\n".join(f"- `{problem}`" for problem in Problem),
    ]
    return "\n\n".join(parts) + "\n"


def _rows_of_errors() -> Iterator[tuple[str, str, str, str]]:
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, SendoffError) and kind not in (SendoffError, errors.WrongSchema)
    ]
    rows = []
    for kind in kinds:
        code = next((CODES[one] for one in kind.__mro__ if one in CODES), "–")
        rows.append(
            (str(status_of(kind)), f"`{kind.__name__}`", f"`{code}`" if code != "–" else code, _first_line(kind))
        )
    yield from sorted(rows)


def _rows_of_outcomes() -> Iterator[tuple[str, str, str]]:
    yield "`ok`", "–", "The receiver answered with a 2xx."
    yield "`gone`", "theirs", "The receiver answered 410: the endpoint is off for good."
    yield "`redirect`", "theirs", "The receiver answered with a 3xx; redirects are never followed."
    yield "`rate_limited`", "theirs", "The receiver answered 429; its `Retry-After` is obeyed."
    yield "`client_error`", "theirs", "The receiver answered with another 4xx."
    yield "`server_error`", "theirs", "The receiver answered with a 5xx."
    yield "`unexpected_status`", "theirs", "The receiver answered with an interim status, or one above 599."
    for kind in _kinds_of_wire_errors():
        yield f"`{kind.name}`", "ours" if kind.is_local else "theirs", _first_line(kind)
    yield f"`{NOT_PREPARED}`", "ours", "The request could not be made or signed."


def _kinds_of_wire_errors() -> list[type[WireError]]:
    found: dict[str, type[WireError]] = {}
    waiting = [WireError]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            if kind.__module__.startswith("sendoff."):
                found.setdefault(kind.name, kind)
                waiting.append(kind)
    return [found[name] for name in sorted(found)]


def render_dead_letter_reasons() -> str:
    """The page of the reasons for which deliveries are given up."""
    rows = [(f"`{reason}`", cell(reason.meaning), cell(reason.remedy)) for reason in DeadLetterReason]
    return f"{_REASONS_HEAD}{table(('reason', 'meaning', 'remedy'), rows)}\n"


def _first_line(kind: type) -> str:
    return cell((kind.__doc__ or "").strip().partition("\n\n")[0])
