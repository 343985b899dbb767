# mypy: disable-error-code="import-not-found,no-any-return"
"""The main calls with the client of openapi-python-client."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sendoff_client import AuthenticatedClient, models
from sendoff_client.api.events import publish_event
from sendoff_client.api.operator_dead_letters import get_dead_letter, list_dead_letters
from sendoff_client.api.operator_replays import create_replay, get_replay
from sendoff_client.api.uploads import create_upload, get_upload
from sendoff_client.api.webhooks import create_webhook, get_webhook, list_webhooks
from sendoff_client.types import File

PATIENCE_SECONDS = 30


def main(base_url: str, key: str, receiver: str, numbers: Path) -> dict[str, Any]:
    client = AuthenticatedClient(base_url=base_url, token=key)
    created = create_webhook.sync(client=client, body=models.NewWebhook(url=receiver))
    webhook = created.webhook
    refused = create_webhook.sync(client=client, body=models.NewWebhook(url="https://10.0.0.1/"))
    data = models.EventBodyData.from_dict({"upload": {"id": "1"}})
    event = publish_event.sync(client=client, body=models.EventBody(type_="upload.completed", data=data))

    def find_letter() -> Any:
        page = list_dead_letters.sync(client=client, endpoint_id=webhook.id)
        return page.data[0] if page.data else None

    letter = get_dead_letter.sync(eventually(find_letter).id, client=client)
    replay = create_replay.sync(
        client=client, body=models.NewReplay(filter_=models.ReplayFilter(endpoint_id=webhook.id))
    )

    def find_completed() -> Any:
        found = get_replay.sync(replay.id, client=client)
        return found if found.state == models.ReplayState.COMPLETED else None

    completed = eventually(find_completed)
    with numbers.open("rb") as file:
        body = models.UploadedFile(
            file=File(payload=file, file_name="numbers.csv"), phone_column="phone", skip_mobile_lookup=True
        )
        upload = create_upload.sync(client=client, body=body)
    return {
        "secret_characters": len(created.secret),
        "refusal": refused.detail,
        "deliveries": event.deliveries,
        "listed": [str(one.id) for one in list_webhooks.sync(client=client)].count(str(webhook.id)),
        "url": get_webhook.sync(webhook.id, client=client).url,
        "reason": letter.reason.value,
        "response_status": letter.response.status,
        "replayed": completed.succeeded,
        "valid_rows": get_upload.sync(upload.id, client=client).valid_row_count,
    }


def eventually(find: Callable[[], Any]) -> Any:
    """What `find` returns once it is not None."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := find()) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{find.__name__} found nothing within {PATIENCE_SECONDS} s")
        time.sleep(0.1)
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]))))
