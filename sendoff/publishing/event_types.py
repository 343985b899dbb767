"""The event types of this installation: the built-in ones and those registered with `sendoff event-types create`.

A type may have a JSON Schema, which every event's `data` must satisfy when it is published. Schemas come from operators
and data from customers, so both are bounded: a schema that cannot be resolved or costs without bound is refused when it
is registered, and a check that would take more than milliseconds is not made on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Protocol

from sendoff.audit import Actor, write_audit
from sendoff.context import Context
from sendoff.errors import Conflict, Invalid, NotFound, UnknownEventType
from sendoff.policy.endpoints.matching import (
    BUILT_IN_TYPES,
    OPERATIONAL_TYPES,
    first_unknown,
    is_event_type_name,
    is_pattern,
    is_reserved_name,
    matches,
)
from sendoff.policy.json_schema import Schema, SchemaRefused, Violation, compile_schema
from sendoff.publishing.schema_task import CheckData
from sendoff.sandbox import LimitReached, Sandbox
from sendoff.store.engine.database import Transaction
from sendoff.store.queries.traffic import events
from sendoff.store.tables import EventType

SCHEMA_STEPS_AT_ONCE = 200_000
"""Rules that schema checks apply before other requests get a turn: about 2 ms of the event loop."""

CHECK_CPU_SECONDS = 1.0
"""CPU time of one event's check in the sandbox, where those of more than SCHEMA_STEPS_AT_ONCE rules are made. An event
that takes more is refused; at about 10 ns a rule, that is a hundred million rules."""

_CHECK_SECONDS = 5.0

MAX_SUGGESTIONS = 3
"""Names like the unknown one that an error suggests."""

_REMEDY = "register the type with `sendoff event-types create`, or use one that `sendoff event-types list` shows."
_NAMES_COMPARED = 200  # finding the nearest of them takes about 1 ms
_MAX_QUOTED_CHARACTERS = 128


class EventToCheck(Protocol):
    """The parts of an event that a check needs."""

    @property
    def type(self) -> str: ...
    @property
    def data(self) -> bytes: ...


async def create_event_type(
    context: Context, actor: Actor, *, name: str, data_schema: dict[str, Any] | None
) -> EventType:
    """Register a type; with a JSON Schema, every event's `data` must satisfy it when it is published.

    Raises Invalid (`name`, `schema`), or Conflict when there is the type already.
    """
    if not is_event_type_name(name):
        raise Invalid(
            f"{_quoted(name)} is not an event type name; use words of a-z, 0-9 and _ joined by dots, at most 128 "
            "characters.",
            field="name",
        )
    if is_reserved_name(name):
        raise Invalid(f"The name {name} is reserved for Sendoff's own events; choose another one.", field="name")
    _check_schema(data_schema)
    now = context.clock.now()
    created = EventType(name=name, data_schema=data_schema, created_at=now)
    async with context.database.write() as tx:
        if name in BUILT_IN_TYPES or await events.find_type(tx, name) is not None:
            raise Conflict(f"The event type {name} exists already; change it with `sendoff event-types update`.")
        tx.add(created)
        after = {"schema": data_schema}
        write_audit(tx, actor, "event_type.create", target=("event_type", name), now=now, after=after)
    return created


async def update_event_type(
    context: Context, actor: Actor, *, name: str, data_schema: dict[str, Any] | None
) -> EventType:
    """Replace the type's JSON Schema; None removes it. Counts from the next publish on. Raises NotFound, Invalid."""
    _check_schema(data_schema)
    async with context.database.write() as tx:
        found = await _find(tx, name)
        before = {"schema": found.data_schema}
        found.data_schema = data_schema
        write_audit(
            tx,
            actor,
            "event_type.update",
            target=("event_type", name),
            now=context.clock.now(),
            before=before,
            after={"schema": data_schema},
        )
    return found


async def delete_event_type(context: Context, actor: Actor, *, name: str, force: bool = False) -> None:
    """Remove a type: it can be neither published nor subscribed to any more. Accepted events are still delivered.

    Raises NotFound; Conflict while endpoints subscribe to it, unless with `force`.
    """
    async with context.database.write() as tx:
        found = await _find(tx, name)
        subscribers = await events.count_subscribers(tx, name)
        if subscribers and not force:
            raise Conflict(
                f"The event type {name} is subscribed to by {subscribers} endpoints; change them first, or use `force`."
            )
        await tx.delete(found)
        write_audit(
            tx,
            actor,
            "event_type.delete",
            target=("event_type", name),
            now=context.clock.now(),
            before={"schema": found.data_schema, "subscribers": subscribers},
        )


async def get_event_type(context: Context, name: str) -> EventType:
    """One registered type. Raises NotFound, for the built-in ones as well."""
    async with context.database.read() as tx:
        return await _find(tx, name)


async def list_event_types(context: Context) -> list[EventType]:
    """The registered types beyond the built-in ones, by name."""
    async with context.database.read() as tx:
        return await events.list_types(tx)


async def check_subscription(tx: Transaction, wanted: Collection[str]) -> None:
    """Raise UnknownEventType (field `events`) unless every one of `wanted` can be subscribed to."""
    names = [name for name in wanted if not is_pattern(name)]
    unknown = first_unknown(names, {*BUILT_IN_TYPES, *await find_publishable(tx, names)})
    for pattern in wanted:
        if unknown is None and is_pattern(pattern) and not await _matches_any(tx, pattern):
            unknown = pattern
    if unknown is not None:
        raise UnknownEventType(
            f"Unknown event type {_quoted(unknown)} in `events`; {await suggest_types(tx, unknown)}", field="events"
        )


def check_operational_subscription(wanted: Collection[str]) -> None:
    """Raise UnknownEventType (field `events`) unless each of `wanted` matches an operational event."""
    for name in wanted:
        if not any(matches([name], known) for known in OPERATIONAL_TYPES):
            near = get_close_matches(name[:_MAX_QUOTED_CHARACTERS], OPERATIONAL_TYPES, n=MAX_SUGGESTIONS)
            remedy = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(OPERATIONAL_TYPES)}."
            raise UnknownEventType(f"Unknown operational event {_quoted(name)} in `events`; {remedy}", field="events")


async def _matches_any(tx: Transaction, pattern: str) -> bool:
    """Whether there is a type that the pattern matches; one that matches none is a misspelled one, most likely."""
    if any(matches([pattern], name) for name in BUILT_IN_TYPES):
        return True
    return bool(await events.names_with_prefix(tx, pattern.removesuffix("*"), limit=1))


async def suggest_types(tx: Transaction, unknown: str) -> str:
    """The end of a sentence about an unknown type: which registered names are near to it."""
    prefix = unknown.partition(".")[0][:_MAX_QUOTED_CHARACTERS]
    similar = await events.names_with_prefix(tx, prefix, limit=_NAMES_COMPARED) if is_event_type_name(prefix) else []
    near = get_close_matches(unknown[:_MAX_QUOTED_CHARACTERS], [*BUILT_IN_TYPES, *similar], n=MAX_SUGGESTIONS)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return _REMEDY


async def find_publishable(tx: Transaction, names: Iterable[str]) -> dict[str, EventType]:
    """The registered types among `names`, for `check_types`; the built-in ones need no look."""
    custom = {name for name in names if name not in BUILT_IN_TYPES and is_event_type_name(name)}
    return await events.find_types(tx, custom) if custom else {}


async def look_up_publishable(context: Context, names: Collection[str]) -> dict[str, EventType]:
    """`find_publishable` in a transaction of its own, if there is anything to look up."""
    if set(BUILT_IN_TYPES).issuperset(names):
        return {}
    async with context.database.read() as tx:
        return await find_publishable(tx, names)


def check_types(registered: Mapping[str, EventType], new_events: Sequence[EventToCheck], *, in_batch: bool) -> None:
    """Raise UnknownEventType for the first event whose type is neither built in nor `registered`."""
    for index, event in enumerate(new_events):
        if event.type not in BUILT_IN_TYPES and event.type not in registered:
            field = _field_path(index, "type", in_batch=in_batch)
            near = get_close_matches(event.type[:_MAX_QUOTED_CHARACTERS], BUILT_IN_TYPES, n=1)
            remedy = f"did you mean {near[0]}?" if near else _REMEDY
            raise UnknownEventType(f"Unknown event type {_quoted(event.type)} in `{field}`; {remedy}", field=field)


def schema_steps(registered: Mapping[str, EventType], new_events: Sequence[EventToCheck]) -> int:
    """The maximum number of rules that `check_data` applies; 0 if no type has a schema, or its schema is refused."""
    return sum(_steps(registered, event) for event in new_events)


async def check_data(
    context: Context,
    organization_id: str,
    registered: Mapping[str, EventType],
    new_events: Sequence[EventToCheck],
    *,
    in_batch: bool,
) -> None:
    """Raise Invalid for the first event whose `data` does not satisfy its type's schema, or takes too long to check.

    Other requests get a turn at least every SCHEMA_STEPS_AT_ONCE rules; an event that may take more is checked in the
    sandbox.
    """
    since_pause = 0
    for index, event in enumerate(new_events):
        found = registered.get(event.type)
        if found is None or found.data_schema is None:
            continue
        field = _field_path(index, "data", in_batch=in_batch)
        schema = _usable_schema(found, field)
        steps = schema.steps(event.data)
        if steps > SCHEMA_STEPS_AT_ONCE:
            task = CheckData(found.data_schema, event.data.decode())
            _refuse(await _check_in_sandbox(context, organization_id, task, field), field)
            continue
        since_pause += steps
        if since_pause > SCHEMA_STEPS_AT_ONCE:
            await asyncio.sleep(0)
            since_pause = steps
        _refuse(schema.find_violation(event.data), field)


async def _check_in_sandbox(context: Context, organization_id: str, task: CheckData, field: str) -> Violation | None:
    try:
        return await context.service(Sandbox.of).run(
            task, organization_id=organization_id, cpu_seconds=CHECK_CPU_SECONDS, seconds=_CHECK_SECONDS
        )
    except LimitReached:
        raise Invalid(
            f"`{field}` has too many values for the event type's schema: its check takes more than "
            f"{CHECK_CPU_SECONDS:g} s; send fewer values, or simplify the schema.",
            field=field,
        ) from None


def _refuse(violation: Violation | None, field: str) -> None:
    if violation is not None:
        path = ".".join([field, *(str(part)[:_MAX_QUOTED_CHARACTERS] for part in violation.path)])
        raise Invalid(f"`{path}` does not satisfy the event type's schema: {violation.message}.", field=path)


def _usable_schema(event_type: EventType, field: str) -> Schema:
    """The type's schema, which a release without today's bounds may have let pass."""
    try:
        return compile_schema(event_type.data_schema or {})
    except SchemaRefused as error:
        raise Invalid(
            f"`{field}` cannot be checked: the schema of {event_type.name} cannot be used, because {error}. "
            "An operator can replace it with `sendoff event-types update`.",
            field=field,
        ) from None


def _steps(registered: Mapping[str, EventType], event: EventToCheck) -> int:
    found = registered.get(event.type)
    if found is None or found.data_schema is None:
        return 0
    try:
        return compile_schema(found.data_schema).steps(event.data)
    except SchemaRefused:
        return 0


def _check_schema(data_schema: dict[str, Any] | None) -> None:
    if data_schema is None:
        return
    try:
        compile_schema(data_schema)
    except SchemaRefused as error:
        raise Invalid(f"Invalid JSON Schema: {error}.", field="schema") from None


async def _find(tx: Transaction, name: str) -> EventType:
    if name in BUILT_IN_TYPES:
        raise NotFound(f"The event type {name} is built in and has no schema; only registered types can be changed.")
    found = await events.find_type(tx, name) if is_event_type_name(name) else None
    if found is None:
        raise NotFound(f"There is no event type {_quoted(name)}; `sendoff event-types list` shows those that exist.")
    return found


def _field_path(index: int, name: str, *, in_batch: bool) -> str:
    return f"events[{index}].{name}" if in_batch else name


def _quoted(name: str) -> str:
    return repr(name if len(name) <= _MAX_QUOTED_CHARACTERS else name[:_MAX_QUOTED_CHARACTERS] + "…")
