"""The event types of this installation: the built-in ones and those registered with `sendoff event-types create`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import jsonschema
import orjson
from referencing import Registry

from sendoff.audit import Actor, write_audit
from sendoff.context import Context
from sendoff.errors import Conflict, Invalid, UnknownEventType
from sendoff.policy.matching import BUILT_IN_TYPES, first_unknown, is_event_type_name
from sendoff.store.engine.database import Transaction
from sendoff.store.queries import events
from sendoff.store.tables import EventType


async def create_event_type(
    context: Context, actor: Actor, *, name: str, data_schema: dict[str, Any] | None
) -> EventType:
    """Register a type; with a JSON Schema, every event's `data` must satisfy it when it is published."""
    if not is_event_type_name(name):
        raise Invalid(
            f"{name!r} cannot name an event type: use words of a-z, 0-9 and _ joined by dots, at most 128 characters.",
            field="name",
        )
    _check_schema(data_schema)
    now = context.clock.now()
    created = EventType(name=name, data_schema=data_schema, created_at=now)
    async with context.database.write() as tx:
        if name in BUILT_IN_TYPES or await events.find_type(tx, name) is not None:
            raise Conflict(f"The event type {name} exists already.")
        tx.add(created)
        after = {"schema": data_schema}
        write_audit(tx, actor, "event_type.create", target=("event_type", name), now=now, after=after)
    return created


async def list_event_types(context: Context) -> list[EventType]:
    """The registered types beyond the built-in ones, by name."""
    async with context.database.read() as tx:
        return await events.list_types(tx)


async def check_subscription(tx: Transaction, wanted: Collection[str]) -> None:
    """Raise UnknownEventType (field `events`) unless every one of `wanted` can be subscribed to."""
    known = set(BUILT_IN_TYPES)
    if not known.issuperset(wanted):
        known.update(event_type.name for event_type in await events.list_types(tx))
    unknown = first_unknown(wanted, known)
    if unknown is not None:
        raise UnknownEventType(
            f"Unknown event type {unknown!r} in `events`; there are {', '.join(sorted(known))}.", field="events"
        )


async def find_publishable(tx: Transaction, names: Iterable[str]) -> dict[str, EventType]:
    """The registered types among `names`, for `check_publishable`; the built-in ones need no look."""
    custom = {name for name in names if name not in BUILT_IN_TYPES and is_event_type_name(name)}
    return await events.find_types(tx, custom) if custom else {}


async def look_up_publishable(context: Context, names: Collection[str]) -> dict[str, EventType]:
    """`find_publishable` in a transaction of its own, if there is anything to look up."""
    if set(BUILT_IN_TYPES).issuperset(names):
        return {}
    async with context.database.read() as tx:
        return await find_publishable(tx, names)


def check_publishable(registered: Mapping[str, EventType], event_type: str, data: bytes, *, field: str) -> None:
    """Raise UnknownEventType, or Invalid when `data` does not satisfy the type's schema; `field` names the event."""
    if event_type in BUILT_IN_TYPES:
        return
    found = registered.get(event_type)
    if found is None:
        raise UnknownEventType(
            f"Unknown event type {event_type!r} in `{field}`; register it with `sendoff event-types create`.",
            field=field,
        )
    if found.data_schema is not None:
        _check_data(found.data_schema, data, field=field.removesuffix("type") + "data")


def _check_data(data_schema: dict[str, Any], data: bytes, *, field: str) -> None:
    try:
        parsed = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise Invalid(f"`{field}` holds what no schema can be held to, such as 1e400.", field=field) from None
    problem = jsonschema.exceptions.best_match(_validator(data_schema).iter_errors(parsed))
    if problem is not None:
        place = ".".join([field, *(str(part) for part in problem.absolute_path)])
        raise Invalid(f"`{place}` does not satisfy the event type's schema: {problem.message}", field=place)


def _check_schema(data_schema: dict[str, Any] | None) -> None:
    if data_schema is None:
        return
    try:
        jsonschema.Draft202012Validator.check_schema(data_schema)
    except jsonschema.SchemaError as error:
        raise Invalid(f"This is no JSON Schema: {error.message}", field="schema") from None
    remote = _find_remote_reference(data_schema)
    if remote is not None:
        raise Invalid(f"The schema refers to {remote}; only references within it (#/…) are followed.", field="schema")


def _validator(data_schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
    # An empty registry: a `$ref` to somewhere else must not make this process fetch it.
    return jsonschema.Draft202012Validator(data_schema, registry=Registry())


def _find_remote_reference(schema: object) -> str | None:
    if isinstance(schema, dict):
        reference = schema.get("$ref")
        if isinstance(reference, str) and not reference.startswith("#"):
            return reference
        return next(filter(None, map(_find_remote_reference, schema.values())), None)
    if isinstance(schema, list):
        return next(filter(None, map(_find_remote_reference, schema)), None)
    return None
