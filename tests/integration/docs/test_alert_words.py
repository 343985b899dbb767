"""What alerts tell a person to do can be done: the commands exist with their options, and the pages are served."""

from __future__ import annotations

import shlex

import orjson
import pytest
from starlette.routing import Match

from api.pages.dashboard.routes import ROUTES
from sendoff.dialects.alert import compose
from sendoff.dialects.base import EventData
from sendoff.ids import new_id
from sendoff.policy.operational_events import OPERATORS, OperationalEventType
from sendoff.publishing.operational_data import Subjects, describe_event
from sendoff.store.queries.traffic.replays import ReplayProgress
from sendoff.store.tables import DeadLetter, Endpoint, OperationalEvent, Replay
from tests.support.app_fixture import START
from tools.docs_site import commands

ID, ORGANIZATION = new_id(), new_id()
ENDPOINT = Endpoint(
    id=ID,
    organization_id=ORGANIZATION,
    dialect="default",
    url="https://hooks.example.com",
    events=["*"],
    secret=b"",
    created_at=START,
    updated_at=START,
)
LETTER = DeadLetter(
    id=ID,
    delivery_id=ID,
    event_id="evt_0199c1f26f1e8f431f0c2f6d",
    event_type="upload.completed",
    endpoint_id=ID,
    endpoint_url="https://hooks.example.com",
    organization_id=ORGANIZATION,
    reason="retries_exhausted",
    attempt_count=6,
    died_at=START,
)
REPLAY = Replay(
    id=ID, filter={}, rate=1, total=9, requested_by="cli:ada", created_at=START, ticked_at=START, finished_at=START
)
SUBJECTS = {
    OperationalEventType.DELIVERY_DEAD_LETTERED: Subjects(endpoints={ID: ENDPOINT}, dead_letters={ID: LETTER}),
    OperationalEventType.REPLAY_FINISHED: Subjects(replays={ID: REPLAY}, progress={ID: ReplayProgress(9, 7, 2)}),
    OperationalEventType.DEAD_LETTERS_EXCEEDED: Subjects(),
}


@pytest.mark.parametrize("type_", OperationalEventType)
def test_the_commands_and_the_page_of_an_alert_exist(type_: OperationalEventType) -> None:
    known = dict(commands.find_commands())
    subjects = SUBJECTS.get(type_, Subjects(endpoints={ID: ENDPOINT}))
    happened = OperationalEvent(
        type=type_, organization_id=ORGANIZATION, endpoint_id=ID, subject_id=ID, occurred_at=START
    )
    data = describe_event(happened, subjects, "")
    alert = compose(EventData("evt_0199c1f26f1e8f431f0c2f6d", type_, OPERATORS, START, orjson.dumps(data)))
    for line in {str(data["command"]), *alert.commands}:
        words = shlex.split(line)
        name = next(name for count in (3, 2) if (name := " ".join(words[:count])) in known)
        options = {option for one in known[name].params for option in one.opts}
        assert {word for word in words if word.startswith("--")} <= options, line
    scope = {"type": "http", "method": "GET", "path": data["dashboard"], "headers": []}
    assert any(route.matches(scope)[0] is Match.FULL for route in ROUTES), data["dashboard"]
