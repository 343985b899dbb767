"""An authorization server: its keys, published as a JWKS, and the access tokens that it issues."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER = "https://login.example.com/"
AUDIENCE = "https://api.example.com"

_ALGORITHMS: dict[str, Any] = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}


def new_key(algorithm: str) -> Any:
    """A private key for that algorithm."""
    if algorithm == "RS256":
        return rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1()) if algorithm == "ES256" else Ed25519PrivateKey.generate()


@dataclass
class Issuer:
    """Keys by their ids; the JWKS at `path` holds those that are published."""

    path: Path
    now: datetime
    business: str
    keys: dict[str, tuple[str, Any]] = field(default_factory=dict)

    def add_key(self, key_id: str, algorithm: str = "ES256") -> None:
        self.keys[key_id] = (algorithm, new_key(algorithm))

    def document(self) -> str:
        """The JWKS."""
        return json.dumps({"keys": [self._public(key_id) for key_id in self.keys]})

    def publish(self) -> None:
        self.path.write_text(self.document())

    def issue(self, key_id: str = "1", *, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """An access token; `claims` replace the usual ones, those that are None are left out."""
        algorithm, key = self.keys[key_id]
        usual = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "exp": self.now.timestamp() + 60,
            "sub": "auth0|ada",
            "client_id": "crm",
            "business_id": self.business,
            "scope": "openid api:webhooks",
        }
        expected = {name: value for name, value in (usual | claims).items() if value is not None}
        return jwt.encode(expected, key, algorithm=algorithm, headers={"kid": key_id, **(headers or {})})

    def _public(self, key_id: str) -> dict[str, Any]:
        algorithm, key = self.keys[key_id]
        public: dict[str, Any] = _ALGORITHMS[algorithm].to_jwk(key.public_key(), as_dict=True)
        return public | {"kid": key_id, "use": "sig"}
