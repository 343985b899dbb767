"""What people read on a page for the words that the API, filters and logs use: states, verdicts, reasons, outcomes."""

from __future__ import annotations

from sendoff.operators.installation.statistics import Sums
from sendoff.policy.states import DeadLetterReason

_WORDS = {
    # states of deliveries, and verdicts on them
    "pending": "waiting",
    "held": "waiting, endpoint busy",
    "queued": "waiting in line",
    "in_flight": "being sent",
    "dead": "given up",
    "filtered": "filtered out",
    "was_disabled": "was switched off",
    **{str(reason): reason.label for reason in DeadLetterReason},
    # outcomes of attempts
    "client_error": "receiver refused the request",
    "server_error": "receiver failed",
    "unexpected_status": "answer was not a 2xx",
    "redirect": "receiver redirected",
    "rate_limited": "receiver asked to slow down",
    "name_not_found": "host name does not exist",
    "name_lookup_failed": "name servers did not answer",
    "connect_failed": "no connection",
    "tls_failed": "no trusted encryption",
    "timed_out": "no answer in time",
    "bad_response": "answer was not HTTP",
    "local_failure": "could not leave this service",
    "not_prepared": "could not be signed or prepared",
    "oauth2_failed": "no access token",
}


def say(value: object) -> str:
    """The word for people; a value without one is spelled with spaces."""
    return _WORDS.get(str(value)) or str(value).replace("_", " ")


def describe_success(sums: Sums) -> str | None:
    """The share of attempts that succeeded, such as `99.5 %`; None without attempts. It is never rounded to 100."""
    attempts, failed = sums.attempts, sums.failed_attempts
    if not attempts:
        return None
    return "100 %" if not failed else f"{int(1_000 * (attempts - failed) / attempts) / 10:g} %"
