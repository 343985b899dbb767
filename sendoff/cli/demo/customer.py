"""The demo's side of the HTTP API: what a customer's program and an operator's would call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from sendoff.cli.demo.watching import DidNotHappen


class ApiClient:
    """Calls the API with one key. Raises DidNotHappen for any answer but a 2xx."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def get(self, path: str, **parameters: Any) -> Any:
        return self._answer(self._client.get(path, params=parameters))

    def post(self, path: str, body: Any = None) -> Any:
        return self._answer(self._client.post(path, json=body))

    def upload(self, path: str, file: tuple[str, bytes, str], **fields: str) -> Any:
        """A multipart form with one file: its name, its bytes, its type."""
        return self._answer(self._client.post(path, files={"file": file}, data=fields))

    def _answer(self, response: httpx.Response) -> Any:
        if not response.is_success:
            request = response.request
            raise DidNotHappen(f"{request.method} {request.url} was answered {response.status_code}: {response.text}")
        return response.json()


@contextmanager
def open_client(url: str, key: str) -> Iterator[ApiClient]:
    """A client that sends that API key."""
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30, trust_env=False) as client:
        yield ApiClient(client)


def download(url: str) -> str:
    """The text of a signed download link, which needs no key."""
    response = httpx.get(url, follow_redirects=True, timeout=30, trust_env=False)
    if not response.is_success:
        raise DidNotHappen(f"The download link was answered {response.status_code}.")
    return response.text
