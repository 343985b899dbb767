"""An OAuth2 authorization server for client credentials: Authlib's, on Flask, in a thread."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc6749.models import ClientMixin
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from flask import Flask, Response, request
from werkzeug.serving import make_server

CLIENT_ID, CLIENT_SECRET = "sendoff client", "client-secret/+%&é"


class _Client(ClientMixin):  # type: ignore[misc]  # the library has no types
    def __init__(self, method: str) -> None:
        self._method = method

    def get_client_id(self) -> str:
        return CLIENT_ID

    def get_allowed_scope(self, scope: str) -> str:
        return scope or ""

    def check_client_secret(self, client_secret: str) -> bool:
        return secrets.compare_digest(client_secret.encode(), CLIENT_SECRET.encode())

    def check_endpoint_auth_method(self, method: str, _endpoint: str) -> bool:
        return method == self._method

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "client_credentials"


class _Grant(ClientCredentialsGrant):  # type: ignore[misc]  # the library has no types
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]  # noqa: RUF012 - as the library has it


@dataclass
class Issued:
    """What the server was asked and what it gave."""

    url: str = ""
    expires_in: int = 3600
    """For how many seconds its next tokens are good; 0 is not told."""
    method: str = "client_secret_basic"
    """How clients must authenticate."""
    requests: list[dict[str, str]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    def auth(self, **fields: Any) -> dict[str, Any]:
        """The `auth` of an endpoint whose tokens come from here."""
        client = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        return {"type": "oauth2", "token_url": self.url, **client, **fields}


@contextmanager
def authorization_server() -> Iterator[Issued]:
    """A running server, which gives a different token at each request."""
    issued = Issued()
    app = Flask(__name__)
    server = AuthorizationServer(
        app, query_client=lambda client_id: _Client(issued.method) if client_id == CLIENT_ID else None, save_token=_save
    )
    server.register_grant(_Grant)

    def new_token(**_: Any) -> str:
        issued.tokens.append(secrets.token_urlsafe(24))
        return issued.tokens[-1]

    server.register_token_generator("default", BearerTokenGenerator(new_token, None, lambda *_: issued.expires_in))

    @app.post("/token")
    def token() -> Response:
        issued.requests.append(request.form.to_dict())
        answer: Response = server.create_token_response()
        return answer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = make_server("127.0.0.1", 0, app)
    issued.url = f"http://127.0.0.1:{running.server_port}/token"
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    try:
        yield issued
    finally:
        running.shutdown()
        thread.join()
        running.server_close()


def _save(_token: Any, _request: Any) -> None:
    """The receivers of these tests check tokens by what was issued."""
