"""The checks of the reconciliation: what must hold, the statement that finds where it does not, and what to do then."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """`kind` names the fault for programs, `what` and `remedy` tell people."""

    kind: str
    what: str
    remedy: str
    sql: str


_OPEN = "('pending', 'held', 'queued', 'in_flight')"
_STATES = "('pending', 'held', 'queued', 'in_flight', 'delivered', 'dead')"

# PostgreSQL estimates any range of UUIDs at a handful of rows. So the statements leave it no choice that
# would be slow if it were many: what a range holds is read by its key before anything else is asked of it (an index of
# a state may hold all rows but a few), is grouped rather than joined with another range, and joined by a key alone.
_RANGE = """
    WITH d AS MATERIALIZED (
        SELECT id, event_id, endpoint_id, state, attempt_count, due_at, leased_until, lease_token, sequence,
            replay_id, created_at
        FROM deliveries WHERE WITHIN(id)
    )
"""

_EVENTS = (
    Check(
        "delivery_count",
        "The event was accepted with another number of deliveries than it has.",
        "Fewer: publish the event's data again for the endpoints that lack it. More: find out who wrote the others.",
        """
        SELECT id AS event_id, MAX(expected) AS expected, COUNT(delivery_id) AS found
        FROM (
            SELECT id, delivery_count AS expected, NULL AS delivery_id FROM events WHERE WITHIN(id)
            UNION ALL
            SELECT event_id, NULL, id FROM deliveries WHERE WITHIN(event_id)
        ) AS counted GROUP BY id HAVING MAX(expected) <> COUNT(delivery_id)
        """,
    ),
    Check(
        "event_missing",
        "The event of deliveries, of which one is shown, does not exist, so that they cannot be sent.",
        "Restore the event from a backup, or remove its deliveries.",
        """
        SELECT id AS event_id, MIN(delivery_id) AS delivery_id
        FROM (
            SELECT id, 1 AS is_event, NULL AS delivery_id FROM events WHERE WITHIN(id)
            UNION ALL
            SELECT event_id, NULL, CAST(id AS TEXT) FROM deliveries WHERE WITHIN(event_id)
        ) AS counted GROUP BY id HAVING COUNT(is_event) = 0
        """,
    ),
)

_DELIVERIES = (
    Check(
        "endpoint_missing",
        "The delivery's endpoint does not exist; deleted ones keep their row.",
        "Restore the endpoint from a backup, or remove the delivery.",
        f"""
        {_RANGE}
        SELECT d.id AS delivery_id, d.endpoint_id AS endpoint_id
        FROM d LEFT JOIN endpoints e ON e.id = d.endpoint_id
        WHERE e.id IS NULL
        """,
    ),
    Check(
        "attempt_numbers",
        "The delivery's attempt count differs from its recorded attempts, or their numbers have a gap.",
        "History was lost or written by another program; the delivery continues by its own count.",
        """
        SELECT id AS delivery_id, MAX(expected) AS expected, COUNT(number) AS found
        FROM (
            SELECT id, attempt_count AS expected, NULL AS number FROM deliveries WHERE WITHIN(id)
            UNION ALL
            SELECT delivery_id, NULL, number FROM attempts WHERE WITHIN(delivery_id)
        ) AS counted GROUP BY id
        HAVING MAX(expected) <> COUNT(number)
        OR (MAX(expected) IS NOT NULL AND (MIN(number) <> 1 OR MAX(number) <> COUNT(number)))
        """,
    ),
    Check(
        "attempts_without_delivery",
        "There are attempts of a delivery that does not exist.",
        "The delivery was lost: look into its event, and publish it again if the receiver lacks it.",
        """
        SELECT DISTINCT a.delivery_id AS delivery_id
        FROM attempts a LEFT JOIN deliveries d ON d.id = a.delivery_id
        WHERE WITHIN(a.delivery_id) AND d.id IS NULL
        """,
    ),
    Check(
        "delivered_unproven",
        "The delivery counts as delivered, but its last attempt was not answered with a 2xx.",
        "Replay it by its id if the receiver lacks it.",
        f"""
        {_RANGE}
        SELECT d.id AS delivery_id FROM d
        WHERE d.state = 'delivered' AND COALESCE((
            SELECT a.response_status FROM attempts a WHERE a.delivery_id = d.id AND a.number = d.attempt_count
        ), 0) NOT BETWEEN 200 AND 299
        """,
    ),
    Check(
        "dead_without_letter",
        "The delivery is dead, but no dead letter tells anybody.",
        "Retry it or replay it by its id.",
        f"""
        {_RANGE}
        SELECT d.id AS delivery_id FROM d
        WHERE d.state = 'dead'
        AND NOT EXISTS (SELECT 1 FROM dead_letters l WHERE l.delivery_id = d.id AND l.state <> 'replayed')
        """,
    ),
    Check(
        "never_due",
        "The delivery waits, but for no time that ever comes.",
        "Set its `due_at`, `leased_until` if it is in flight, to now, or `sequence` if it is queued, to 0.",
        f"""
        {_RANGE}
        SELECT d.id AS delivery_id FROM d
        WHERE (
            (d.state = 'pending' AND d.due_at IS NULL)
            OR (d.state = 'queued' AND d.sequence IS NULL)
            OR (d.state = 'in_flight' AND (d.leased_until IS NULL OR d.lease_token IS NULL))
            OR d.state NOT IN {_STATES}
        )
        """,
    ),
    Check(
        "lease_expired",
        "The delivery's lease ended long ago, and no worker has taken it over.",
        "See that a worker runs; it takes it over by itself.",
        f"""
        {_RANGE}
        SELECT d.id AS delivery_id FROM d
        WHERE d.state = 'in_flight' AND d.leased_until < :overdue
        """,
    ),
    Check(
        "overdue",
        "The delivery has long been due, and no worker has sent it.",
        "See that a worker runs, and whether it keeps up; it sends it by itself.",
        f"""
        {_RANGE}
        SELECT d.id AS delivery_id, d.endpoint_id AS endpoint_id FROM d
        WHERE d.state = 'pending' AND d.due_at < :overdue
        """,
    ),
    Check(
        "waits_for_closed_endpoint",
        "The delivery waits for an endpoint that has been off for long.",
        "See that a worker runs; it moves it to the dead-letter store by itself.",
        f"""
        {_RANGE}
        SELECT d.id AS delivery_id, e.id AS endpoint_id FROM d JOIN endpoints e ON e.id = d.endpoint_id
        WHERE d.state IN ('pending', 'held', 'queued') AND e.state <> 'active' AND d.created_at < :overdue
        AND e.updated_at < :overdue AND (e.disabled_at IS NULL OR e.disabled_at < :overdue)
        """,
    ),
    Check(
        "replay_unaware",
        "The delivery is on its way for a replay that does not count it as sent.",
        "The delivery is safe; the replay's progress is not. Cancel the replay if it does not end.",
        f"""
        {_RANGE}
        SELECT d.id AS delivery_id, d.replay_id AS replay_id
        FROM d LEFT JOIN replay_items i ON i.replay_id = d.replay_id AND i.delivery_id = d.id
        WHERE d.replay_id IS NOT NULL AND d.state IN {_OPEN}
        AND (i.state IS NULL OR i.state <> 'sent')
        """,
    ),
)

_DEAD_LETTERS = (
    Check(
        "open_letter_of_live_delivery",
        "The dead letter is open, but its delivery is not dead or does not exist.",
        "Discard the dead letter.",
        """
        SELECT l.id AS dead_letter_id, l.delivery_id AS delivery_id
        FROM dead_letters l LEFT JOIN deliveries d ON d.id = l.delivery_id
        WHERE WITHIN(l.id) AND l.state = 'open' AND (d.id IS NULL OR d.state <> 'dead')
        """,
    ),
)

_REPLAYS = (
    Check(
        "replay_total",
        "The replay's delivery count differs from its deliveries, or it is completed before all of them ended.",
        "Start another replay of what is still in the dead-letter store.",
        """
        SELECT r.id AS replay_id, r.total AS expected, COALESCE(n.number, 0) AS found
        FROM replays r LEFT JOIN (
            SELECT replay_id, COUNT(*) AS number,
                SUM(CASE WHEN state IN ('waiting', 'sent') THEN 1 ELSE 0 END) AS left_over
            FROM replay_items WHERE WITHIN(replay_id) GROUP BY replay_id
        ) AS n ON n.replay_id = r.id
        WHERE WITHIN(r.id) AND (r.finished_at IS NULL OR r.finished_at >= :kept_since)
        AND (r.total <> COALESCE(n.number, 0) OR (r.state = 'completed' AND n.left_over > 0))
        """,
    ),
    Check(
        "replay_item_adrift",
        "The replay counts the delivery as on its way, but it is not.",
        "The delivery's own state is right. Cancel the replay if it does not end.",
        f"""
        SELECT i.replay_id AS replay_id, i.delivery_id AS delivery_id
        FROM replay_items i LEFT JOIN deliveries d ON d.id = i.delivery_id
        WHERE WITHIN(i.replay_id) AND i.state = 'sent'
        AND (d.id IS NULL OR d.replay_id IS NULL OR d.replay_id <> i.replay_id OR d.state NOT IN {_OPEN})
        """,
    ),
)

CHECKS = {"events": _EVENTS, "deliveries": _DELIVERIES, "dead_letters": _DEAD_LETTERS, "replays": _REPLAYS}
