"""Messages of brokers that `sendoff consume` rejected."""

from __future__ import annotations

from sendoff.context import Context
from sendoff.errors import NotFound
from sendoff.ids import is_uuid
from sendoff.store.queries.traffic import rejected_messages
from sendoff.store.tables import RejectedMessage


async def list_rejected_messages(
    context: Context, *, source: str | None, limit: int, before: str | None = None
) -> list[RejectedMessage]:
    """Rejected messages, newest first; of one source, such as `rabbitmq:orders`, or of all."""
    async with context.database.read() as tx:
        return await rejected_messages.list_rejected(tx, source=source, limit=limit, before=before)


async def get_rejected_message(context: Context, message_id: str) -> RejectedMessage:
    """One rejected message, with its headers and body. Raises NotFound."""
    if is_uuid(message_id):
        async with context.database.read() as tx:
            found = await rejected_messages.find(tx, message_id.lower())
        if found is not None:
            return found
    raise NotFound(f"There is no rejected message {message_id!r}; `sendoff rejected-messages list --wide` shows ids.")
