"""`sendoff listen`: what an organization's endpoints would get, shown here and passed on to a local URL."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import httpx
import typer

from sendoff.cli.terminal.installation import Call, Document, Installation, LocalInstallation, RemoteInstallation
from sendoff.cli.terminal.options import OrganizationOption, command
from sendoff.cli.terminal.output import Output, print_json
from sendoff.cli.terminal.serializers import serialize_listening, serialize_shown
from sendoff.cli.terminal.values import printable, shorten_id
from sendoff.clock import SystemClock
from sendoff.endpoints.listening import MOST_EVENTS, Cursor, Window, listener_secret, show_again
from sendoff.endpoints.listening import listen as listen_once
from sendoff.errors import SendoffError, Unavailable

_PATH = "/api/v1/listen"
_WAIT_SECONDS = 25.0
_FORWARD_SECONDS = 30.0
_RETRY_SECONDS = 1.0
_MOST_PAGES = 40
_REMEMBERED = 1_000


@command
def listen(
    on: Installation,
    out: Output,
    forward_to: Annotated[
        str | None, typer.Option(metavar="URL", help="Send each request to this URL too, such as localhost:3000/hook.")
    ] = None,
    event_type: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only events of this type; `upload.*` for all that begin so. Repeatable."),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(metavar="ID", help="As this endpoint gets them: its types, filter, transform and secret."),
    ] = None,
    org: OrganizationOption = None,
    resend: Annotated[
        str | None, typer.Option(metavar="ID", help="Send this one event to --forward-to, signed again, and end.")
    ] = None,
    print_secret: Annotated[
        bool, typer.Option("--print-secret", help="Print the secret that requests are signed with, and end.")
    ] = False,
    exit_after: Annotated[int | None, typer.Option(min=1, metavar="N", help="End after this many events.")] = None,
) -> None:
    """Show events as they are accepted, signed as an endpoint would get them, and pass them on to a local URL.

    Nothing on this machine has to be reachable from outside. Nothing of it counts as a delivery: real endpoints get
    their requests all the same, and a failure here changes nothing. Without --endpoint, requests are signed with a
    secret that is the same whenever this key listens. On a terminal, `r` and Enter sends the last event again, and
    `r ID` any other.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C does
    target = _Target(None if forward_to is None else _as_url(forward_to), out)
    with on.open() as opened:
        source = _Source(opened, event_type or [], opened.find_any("endpoint", endpoint), opened.find_organization(org))
        if resend is not None:
            target.show(source.again(opened.find("event", resend)), source)
            raise typer.Exit(0 if target.last_answer_is_good else 1)
        try:
            _run(source, target, exit_after=exit_after, print_secret=print_secret)
        except KeyboardInterrupt:
            target.say(f"{target.shown} shown, {target.failed} not answered with 2xx")


@dataclass
class _Source:
    """Where events come from, page by page; `cursor` says which were shown."""

    on: Installation
    event_types: list[str]
    endpoint_id: str | None
    organization_id: str
    cursor: str | None = None

    def ask(self, wait: float) -> Document:
        """The next page. Raises Unavailable; nothing is lost then, since the cursor stays."""
        query = {
            "cursor": self.cursor,
            "event_type": self.event_types,
            "endpoint_id": self.endpoint_id,
            "wait_seconds": wait,
        }
        cursor = None if self.cursor is None else Cursor.read(self.cursor)
        document: Document = self.on.read(
            lambda context, _: listen_once(context, self._window(), cursor, wait_seconds=wait),
            lambda answer: serialize_listening(answer, self._window()),
            Call("GET", _PATH, query),
        )
        self.cursor = document["cursor"]
        return document

    def again(self, event_id: str) -> Document:
        """One event, signed again."""
        document: Document = self.on.read(
            lambda context, _: show_again(context, self._window(), event_id),
            serialize_shown,
            Call("GET", f"{_PATH}/{event_id}", {"endpoint_id": self.endpoint_id}),
        )
        return document

    def report(self, event_id: str, answer: Document) -> None:
        """Tell the installation what was answered; it is only for its log."""
        if isinstance(self.on, RemoteInstallation):
            try:
                self.on.remote.ask(Call("POST", f"{_PATH}/{event_id}/answer", body=answer))
            except SendoffError:
                return

    def _window(self) -> Window:
        assert isinstance(self.on, LocalInstallation)  # noqa: S101 - only a database is asked with a window
        seed = f"{self.on.settings().secret_keys[0].get_secret_value()}:{self.organization_id}"
        return Window(self.organization_id, listener_secret(seed), tuple(self.event_types) or ("*",), self.endpoint_id)


@dataclass
class _Target:
    """Prints events, passes them on, and counts."""

    url: str | None
    out: Output
    shown: int = 0
    failed: int = 0
    ids: deque[str] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    """The events that were shown last, by which a shortened id is understood."""
    last_answer_is_good: bool = True
    lock: threading.Lock = field(default_factory=threading.Lock)

    def show(self, event: Document, source: _Source) -> None:
        """Pass an event on, print it with what was answered, and report that."""
        answer = self._forward(event) if self.url is not None and event["request"] is not None else None
        with self.lock:
            self.shown += 1
            self.ids.append(event["id"])
            self.last_answer_is_good = event["request"] is not None and (answer is None or _is_good(answer))
            self.failed += not self.last_answer_is_good
            if self.out.as_json:
                print_json({"event": event, "answer": answer})
            else:
                typer.echo(_line(event, answer))
            sys.stdout.flush()
        if answer is not None:
            source.report(event["id"], answer)

    def find(self, given: str) -> str:
        """The id of the shown event that ends so; what is given, if none does."""
        text = given.strip("….")
        return next((one for one in reversed(self.ids) if one.endswith(text)), text)

    def say(self, text: str) -> None:
        """A notice about the listening itself."""
        typer.echo(f"-- {printable(text)}", err=True)

    def _forward(self, event: Document) -> Document:
        request, started = event["request"], SystemClock().monotonic()
        status, error = None, None
        try:
            answer = httpx.post(
                self.url or "",
                headers=request["headers"],
                content=request["body"].encode(),
                timeout=_FORWARD_SECONDS,
                trust_env=False,
            )
            status = answer.status_code
        except httpx.HTTPError as failure:
            error = (str(failure) or type(failure).__name__)[:500]
        duration = round((SystemClock().monotonic() - started) * 1000)
        return {"status": status, "duration_ms": duration, "error": error}


def _run(source: _Source, target: _Target, *, exit_after: int | None, print_secret: bool) -> None:
    first = source.ask(0)
    if print_secret:
        if first["secret"] is None:
            raise SendoffError("An endpoint's secret is shown once, when it is made; leave --endpoint out.")
        typer.echo(first["secret"])
        return
    secret = f"secret {first['secret']}" if first["secret"] else f"signed as for endpoint {source.endpoint_id}"
    target.say(f"listening on {source.on.name}; {secret}")
    if target.url is not None and sys.stdin.isatty() and isinstance(source.on, RemoteInstallation):
        threading.Thread(target=_obey_keys, args=(source, target), daemon=True).start()
    for event in _events(source, target):
        target.show(event, source)
        if exit_after is not None and target.shown >= exit_after:
            return


def _events(source: _Source, target: _Target) -> Iterator[Document]:
    """Events without end; after an outage those that were accepted meanwhile, announced with their number."""
    is_away = False
    while True:
        try:
            page = source.ask(0 if is_away else _WAIT_SECONDS)
        except Unavailable as error:
            if not is_away:
                target.say(f"{error} Trying again until it answers; nothing is lost.")
            is_away = True
            time.sleep(_RETRY_SECONDS)
            continue
        if page["skipped"]:
            target.say(f"{page['skipped']} events were accepted too long ago to be shown; see `sendoff events list`")
        events = list(page["data"])
        if is_away:
            is_away = False
            events += _rest(source, page)
            target.say(f"connected again; {len(events)} missed events follow" if events else "connected again")
        yield from events


def _rest(source: _Source, page: Document) -> list[Document]:
    """What follows a page that may not have been the last."""
    events: list[Document] = []
    for _ in range(_MOST_PAGES):
        if len(page["data"]) < MOST_EVENTS:
            break
        page = source.ask(0)
        events += page["data"]
    return events


def _obey_keys(source: _Source, target: _Target) -> None:
    for line in sys.stdin:
        word, _, given = line.strip().partition(" ")
        wanted = given.strip() or (target.ids[-1] if target.ids else "")
        if word != "r" or not wanted:
            target.say("`r` sends the last event again, `r ID` another one, Ctrl-C ends")
            continue
        try:
            target.show(source.again(target.find(wanted)), source)
        except SendoffError as error:
            target.say(str(error))


def _line(event: Document, answer: Document | None) -> str:
    moment = SystemClock().now().astimezone().strftime("%H:%M:%S")
    if event["request"] is None:
        result = f"not sent: {event['because']}"
    elif answer is None:
        result = ""
    elif answer["status"] is None:
        result = f"→ {answer['error']}"
    else:
        result = f"→ {answer['status']}  {answer['duration_ms']} ms"
    return printable(f"{moment}  {event['type']}  {shorten_id(event['id'])}  {result}").rstrip()


def _is_good(answer: dict[str, Any]) -> bool:
    return answer["status"] is not None and 200 <= answer["status"] < 300


def _as_url(given: str) -> str:
    url = given if "://" in given else f"http://{given}"
    if not url.startswith(("http://", "https://")) or not httpx.URL(url).host:
        raise typer.BadParameter(f"{given!r} is not a URL such as localhost:3000/hook", param_hint="--forward-to")
    return url
