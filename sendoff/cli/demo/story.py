"""The story, act by act. Everything goes through the public HTTP API, and every act checks what it shows."""

from __future__ import annotations

import csv
import io
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from sendoff.accounts import organizations
from sendoff.accounts.authentication import OPERATOR
from sendoff.accounts.page_sessions import create_dashboard_link
from sendoff.cli.accounts.keys import CUSTOMER_SCOPES
from sendoff.cli.demo.customer import ApiClient, download, open_client
from sendoff.cli.demo.installation import RETRY_SCHEDULE, DemoInstallation
from sendoff.cli.demo.narrator import Narrator
from sendoff.cli.demo.phone_numbers import ROWS, make_csv
from sendoff.cli.demo.receiver import DemoReceiver, Hook, ReceivedRequest
from sendoff.cli.demo.watching import check, wait_for
from sendoff.cli.terminal.installation import LocalInstallation

_CREDITS = 5_000
_ATTEMPTS = len(RETRY_SCHEDULE.split(",")) + 1
_SOON_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Participants:
    """The demo's participants: the customer, the operator, the receiver's hooks."""

    customer: ApiClient
    operator: ApiClient
    receiver: DemoReceiver
    narrator: Narrator


def tell(installation: DemoInstallation, receiver: DemoReceiver, narrator: Narrator) -> None:
    """The whole story. Raises DidNotHappen at the first thing that goes otherwise."""
    customer_key, operator_key = _create_accounts(installation, narrator)
    _show_dashboard(installation, narrator)
    with ExitStack() as clients:
        demo = Participants(
            customer=clients.enter_context(open_client(installation.url, customer_key)),
            operator=clients.enter_context(open_client(installation.url, operator_key)),
            receiver=receiver,
            narrator=narrator,
        )
        healthy = _register_receiver(demo)
        billing, billing_id = _register_second_receiver(demo)
        upload_id = _upload(demo, healthy)
        _watch_processing(demo, upload_id)
        _check_completed(demo, healthy)
        _watch_retries(demo, billing)
        _find_dead_letter(demo, billing_id)
        _replay(demo, billing, billing_id)


def _create_accounts(installation: DemoInstallation, narrator: Narrator) -> tuple[str, str]:
    narrator.chapter("An organization and its API keys")
    organization = LocalInstallation(installation.data).run(
        lambda context, actor: organizations.create_organization(context, actor, name="Demo", credits=_CREDITS),
    )
    narrator.happened(f"Organization “{organization.name}” with {_CREDITS:,} credits")
    customer = _mint(installation, organization.id, CUSTOMER_SCOPES)
    operator = _mint(installation, organization.id, (OPERATOR,))
    narrator.happened(f"A customer's key {customer[:12]}… and an operator's {operator[:12]}…, stored as hashes only")
    return customer, operator


def _show_dashboard(installation: DemoInstallation, narrator: Narrator) -> None:
    link = LocalInstallation(installation.data).run(
        lambda context, actor: create_dashboard_link(context, actor, base_url=installation.url)
    )
    narrator.say(f"Look on while it runs, in the dashboard; this link logs in once: {link.url}")


def _mint(installation: DemoInstallation, organization_id: str, scopes: tuple[str, ...]) -> str:
    minted = LocalInstallation(installation.data).run(
        lambda context, actor: organizations.create_key(
            context, actor, organization_id=organization_id, email="ada@example.com", scopes=scopes
        ),
    )
    return minted.key


def _register_receiver(demo: Participants) -> Hook:
    demo.narrator.chapter("Register a receiver: a signed ping comes first")
    hook = demo.receiver.open_hook("/hooks/crm")
    _register(demo, hook, ["upload.created", "upload.completed", "upload.failed"])
    return hook


def _register_second_receiver(demo: Participants) -> tuple[Hook, str]:
    hook = demo.receiver.open_hook("/hooks/billing")
    webhook_id = _register(demo, hook, ["upload.completed"])
    hook.answer = 500
    demo.narrator.say("This second receiver breaks now: from here on it answers 500 to everything.")
    return hook, webhook_id


def _register(demo: Participants, hook: Hook, events: list[str]) -> str:
    registered = demo.customer.post("/api/v1/webhooks", {"url": hook.url, "events": events})
    check(len(hook.requests) == 1, f"{hook.url} should have got one ping, it got {len(hook.requests)} requests.")
    hook.learn(registered["secret"])
    pings = hook.events("webhook.ping")
    check(len(pings) == 1, f"The ping to {hook.url} was not signed with the secret that registration gave.")
    demo.narrator.happened(
        f"{hook.url} answered the ping, whose signature fits the secret; registered for {', '.join(events)}"
    )
    webhook_id: str = registered["webhook"]["id"]
    return webhook_id


def _upload(demo: Participants, hook: Hook) -> str:
    demo.narrator.chapter(f"Upload a CSV of {ROWS:,} phone numbers")
    upload = demo.customer.upload("/api/v1/uploads", ("contacts.csv", make_csv(), "text/csv"), phone_column="phone")
    check(upload["valid_row_count"] == ROWS, f"{upload['valid_row_count']} rows are valid instead of {ROWS}.")
    demo.narrator.happened(f"Accepted: {ROWS:,} valid numbers, {upload['credits_charged']:,} credits charged")
    created = _first_event(hook, "upload.created")
    check(_upload_in(created)["id"] == upload["id"], "upload.created is about another upload.")
    demo.narrator.happened("upload.created arrived, its signature verified")
    upload_id: str = upload["id"]
    return upload_id


def _watch_processing(demo: Participants, upload_id: str) -> None:
    demo.narrator.chapter("The worker processes it")

    with demo.narrator.progress(ROWS) as bar:

        def look() -> dict[str, Any] | None:
            upload: dict[str, Any] = demo.customer.get(f"/api/v1/uploads/{upload_id}")
            is_finished = upload["status"] in ("completed", "failed")
            bar.show(upload["status"], ROWS if upload["status"] == "completed" else 0)
            return upload if is_finished else None

        upload = wait_for(look, within=_SOON_SECONDS, what="The end of processing")
    check(upload["status"] == "completed", f"Processing failed: {upload['error_message']}")


def _check_completed(demo: Participants, hook: Hook) -> None:
    completed = _first_event(hook, "upload.completed")
    demo.narrator.happened("upload.completed arrived, its signature verified")
    text = download(_upload_in(completed)["downloads"]["processed"])
    rows = sum(1 for _ in csv.DictReader(io.StringIO(text, newline="")))
    check(rows == ROWS, f"The processed file has {rows} rows instead of {ROWS}.")
    demo.narrator.happened(f"Its signed download link gives the processed file: {rows:,} rows")


def _watch_retries(demo: Participants, hook: Hook) -> None:
    demo.narrator.chapter("Meanwhile, at the receiver that answers 500: retries")
    demo.narrator.say(f"Shortened for the demo: waits of {RETRY_SCHEDULE} instead of 1m,5m,30m,2h,12h.")
    for number in range(1, _ATTEMPTS + 1):
        request = _nth_event(hook, "upload.completed", number)
        check(request.attempt == number, f"Attempt {number} says that it is attempt {request.attempt}.")
        demo.narrator.failed_as_planned(f"attempt {number} of {_ATTEMPTS}: verified, answered {request.answered}")
    requests = hook.events("upload.completed")
    check(len({request.body for request in requests}) == 1, "The attempts' bodies differ.")
    check(len({request.delivery_id for request in requests}) == 1, "The attempts' delivery ids differ.")
    check(len({request.signature for request in requests}) > 1, "The attempts were not signed afresh.")
    demo.narrator.happened("All attempts carried the same bytes, each signed afresh")


def _find_dead_letter(demo: Participants, webhook_id: str) -> None:
    demo.narrator.chapter("Given up, not lost: the dead-letter store")

    def look() -> dict[str, Any] | None:
        found = demo.operator.get("/operator/v1/dead-letters", endpoint_id=webhook_id, state="open")["data"]
        return found[0] if found else None

    letter = wait_for(look, within=_SOON_SECONDS, what="A dead letter")
    check(letter["reason"] == "retries_exhausted", f"The dead letter's reason is {letter['reason']}.")
    check(letter["attempt_count"] == _ATTEMPTS, f"The dead letter counts {letter['attempt_count']} attempts.")
    demo.narrator.happened(
        f"{letter['event_type']} is there after {letter['attempt_count']} attempts: {letter['reason']}, "
        f"last answer {letter['last_response_status']}"
    )


def _replay(demo: Participants, hook: Hook, webhook_id: str) -> None:
    demo.narrator.chapter("The receiver works again: replay")
    hook.answer = 200
    chosen = {"endpoint_id": webhook_id}
    counted = demo.operator.post("/operator/v1/replays", {"filter": chosen, "dry_run": True})
    check(counted == {"count": 1, "endpoints": 1}, f"The dry run counted {counted}.")
    demo.narrator.happened("A dry run counts 1 delivery to 1 endpoint, and sends nothing")
    replay = demo.operator.post("/operator/v1/replays", {"filter": chosen, "dry_run": False, "rate": 50})
    request = _nth_event(hook, "upload.completed", _ATTEMPTS + 1)
    first = hook.events("upload.completed")[0]
    check(request.body == first.body, "The replay's body differs from the first attempt's.")
    check(request.delivery_id == first.delivery_id, "The replay has another delivery id.")
    demo.narrator.happened(
        f"Delivered as attempt {request.attempt}: same bytes, new signature, verified, answered {request.answered}"
    )
    _check_replay_completed(demo, replay["id"], webhook_id)


def _check_replay_completed(demo: Participants, replay_id: str, webhook_id: str) -> None:
    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = demo.operator.get(f"/operator/v1/replays/{replay_id}")
        return found if found["state"] == "completed" else None

    replay = wait_for(look, within=_SOON_SECONDS, what="The end of the replay")
    check(replay["succeeded"] == 1, f"The replay says that {replay['succeeded']} deliveries succeeded.")
    left = demo.operator.get("/operator/v1/dead-letters", endpoint_id=webhook_id, state="open")["data"]
    check(left == [], "The dead letter is still open.")
    deliveries = demo.customer.get(f"/api/v1/webhooks/{webhook_id}/deliveries")
    check([one["status"] for one in deliveries] == ["delivered"], "The delivery is not shown as delivered.")
    demo.narrator.happened("The replay is completed, no dead letter is open, the delivery is `delivered`")


def _first_event(hook: Hook, event_type: str) -> ReceivedRequest:
    return _nth_event(hook, event_type, 1)


def _nth_event(hook: Hook, event_type: str, number: int) -> ReceivedRequest:
    def look() -> ReceivedRequest | None:
        found = hook.events(event_type)
        return found[number - 1] if len(found) >= number else None

    return wait_for(look, within=_SOON_SECONDS, what=f"ReceivedRequest {number} of type {event_type} to {hook.url}")


def _upload_in(request: ReceivedRequest) -> dict[str, Any]:
    check(request.event is not None, "A request could not be verified.")
    upload: dict[str, Any] = (request.event or {})["data"]["upload"]
    return upload
