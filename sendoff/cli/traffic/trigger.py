"""`sendoff trigger`: publish one event, such as to try an integration."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
import typer

from sendoff.audit import Actor
from sendoff.cli.terminal.installation import Call, Document, Installation
from sendoff.cli.terminal.options import OrganizationOption, event_command
from sendoff.cli.terminal.output import Output
from sendoff.context import Context
from sendoff.idempotency import StoredResponse
from sendoff.publishing.publish import AcceptedEvent, NewEvent, publish


@event_command
def trigger(
    on: Installation,
    out: Output,
    content: dict[str, Any] | None,
    event_type: Annotated[str, typer.Argument(metavar="TYPE", help="Such as `upload.completed`.")],
    org: OrganizationOption = None,
) -> None:
    """Publish one event, which is delivered like any other. `sendoff endpoints test` sends one that is not stored.

    With --url the key needs the scope events:write, and its organization publishes it; a database needs --org.
    """
    data = {"test": True} if content is None else content
    organization = on.find_organization(org)

    async def work(context: Context, _actor: Actor) -> list[AcceptedEvent]:
        accepted: list[AcceptedEvent] = []

        def answer(found: list[AcceptedEvent]) -> StoredResponse:
            accepted.extend(found)
            return StoredResponse(202, b"")

        await publish(context, organization, [NewEvent(event_type, orjson.dumps(data))], answer=answer)
        return accepted

    out.document(on.change(work, _shape, Call("POST", "/api/v1/events", body={"type": event_type, "data": data})))


def _shape(accepted: list[AcceptedEvent]) -> Document:
    [event] = accepted
    return {"id": event.id, "type": event.type, "deliveries": len(event.delivery_ids)}
