"""What a failed attempt means, and what to do about it, in words for owners and operators alike."""

from __future__ import annotations

from dataclasses import dataclass

from sendoff.policy.states import DeadLetterReason


@dataclass(frozen=True, slots=True)
class Advice:
    """What happened, in a sentence, and what its owner can do about it."""

    meaning: str
    remedy: str


_ANSWERS = {
    400: Advice("The receiver found the request invalid.", "Look at its answer: it may expect other fields or types."),
    401: Advice(
        "The receiver asks for credentials.",
        "Let the path be called without a log-in and check the signature instead, or put credentials on the endpoint.",
    ),
    403: Advice(
        "The receiver refuses the request.",
        "Often its signature check fails: the signature helper says why. Or a firewall or bot protection blocks it.",
    ),
    404: Advice("There is nothing at this path of the receiver.", "Compare the URL's path with the receiver's route."),
    405: Advice("The receiver does not take POST at this path.", "Add a route for POST, or correct the URL's path."),
    408: Advice("The receiver gave up waiting for the request.", "Look for a proxy with a short timeout before it."),
    413: Advice("The receiver takes no body of this size.", "Raise the limit of bodies there, or at the proxy."),
    415: Advice("The receiver does not take JSON here.", "Let it accept `Content-Type: application/json`."),
    422: Advice("The receiver could not process the event.", "Look at its answer, which may name a field."),
    500: Advice("The receiver failed on the request.", "Look in its log at the time of the attempt."),
    502: Advice("A proxy did not reach the receiver behind it.", "Check that the application behind the proxy runs."),
    503: Advice("The receiver is overloaded or in maintenance.", "Nothing, if it ends soon: it is attempted again."),
    504: Advice("The receiver behind a proxy took too long.", "Answer at once with a 2xx, and do the work afterwards."),
}
"""By the status of the answer, for those that have a usual cause."""

_OUTCOMES = {
    "ok": Advice("The receiver acknowledged it.", ""),
    "gone": Advice(
        "The receiver answered 410: it wants no more deliveries, and the endpoint is off for good.",
        "Register the URL again as a new endpoint, if that was a mistake.",
    ),
    "redirect": Advice(
        "The receiver redirects to another address, and redirects are not followed.",
        "Register the address that it redirects to; often that is https, or a slash at the end of the path.",
    ),
    "rate_limited": Advice(
        "The receiver takes no more requests at the moment.",
        "Nothing: it is attempted again later. Set a rate limit on the endpoint, if it happens often.",
    ),
    "client_error": Advice("The receiver refuses the request.", "Look at its answer, which usually says why."),
    "server_error": Advice("The receiver failed on the request.", "Look in its log at the time of the attempt."),
    "unexpected_status": Advice("The receiver's answer is not a 2xx.", "Answer with 200 or 204."),
    "name_not_found": Advice(
        "The host name of the URL does not exist.", "Correct the host in the URL, or make its record in the DNS."
    ),
    "name_lookup_failed": Advice(
        "The name servers of the host's domain do not answer.", "Ask your DNS provider; it is attempted again later."
    ),
    "connect_failed": Advice(
        "Nothing accepts connections at the host and port.",
        "Check that the receiver runs, listens on this port, and that no firewall stops us.",
    ),
    "tls_failed": Advice(
        "No trusted encryption could be agreed on.",
        "Check the certificate: its host name, its expiry, and that the whole chain is sent.",
    ),
    "timed_out": Advice(
        "The receiver did not answer in time.", "Answer with a 2xx first, and do long work afterwards."
    ),
    "connection_lost": Advice(
        "The receiver closed the connection before it had answered.",
        "Look in its log for a crash, or for a proxy that ends connections.",
    ),
    "bad_response": Advice("What came back is not valid HTTP.", "Check that the port is that of the web server."),
    "local_failure": Advice(
        "The request could not leave this service.", "Nothing: that is not your fault, and it is attempted again."
    ),
    "not_prepared": Advice(
        "The request could not be made or signed by this service.",
        "Nothing: that is not your fault, and it is attempted again.",
    ),
    "oauth2_failed": Advice(
        "No access token could be had from the token URL.", "Check the token URL, the client id and its secret."
    ),
    # A dead letter without an attempt is listed by its reason; `rejected_address` is an outcome of attempts as well.
    **{str(reason): Advice(reason.meaning, reason.remedy) for reason in DeadLetterReason},
}

_UNKNOWN = Advice("The attempt failed.", "Look at the error and at the receiver's log at that time.")


def advise_on_attempt(outcome: str, status: int | None) -> Advice:
    """What the result of an attempt means; the status says more than the outcome where it has a usual cause."""
    by_status = _ANSWERS.get(status) if status is not None and outcome not in ("ok", "gone", "rate_limited") else None
    return by_status or _OUTCOMES.get(outcome, _UNKNOWN)
