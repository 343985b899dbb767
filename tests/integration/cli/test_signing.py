"""`sendoff sign` and `sendoff verify`: each believes the other, and nobody else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from sendoff.cli.main import app
from sendoff.dialects.registry import Dialects
from sendoff.dialects.signing import PRIVATE_PREFIX, public_key

BODY = b'{"id":"evt_0123456789abcdef01234567","type":"upload.completed","data":{"n":1.50}}'
NOW = "1777034096"


def run(*arguments: str, body: bytes = BODY, **environment: str) -> Result:
    return CliRunner().invoke(app, list(arguments), input=body, env=environment)


def signed(dialect: str, secret: str, path: Path, **environment: str) -> str:
    """The path of a file with the headers."""
    done = run("sign", "--dialect", dialect, "--secret", secret, "--at", NOW, body=BODY, **environment)
    assert done.exit_code == 0, done.output
    path.write_text(done.stdout)
    return str(path)


@pytest.mark.parametrize("dialect", [*Dialects().names, "optimaldial"])
def test_signatures_of_every_dialect_verify(dialect: str, tmp_path: Path) -> None:
    secret = Dialects().get(dialect).new_secret()
    headers = signed(dialect, secret, tmp_path / "headers")
    known = public_key(secret) if secret.startswith(PRIVATE_PREFIX) else secret
    done = run("verify", "--dialect", dialect, "--secret", known, "--headers", headers, "--at", NOW)
    assert (done.exit_code, json.loads(done.stdout)) == (0, json.loads(BODY))


def test_headers_can_be_given_one_by_one_and_the_secrets_in_the_environment(tmp_path: Path) -> None:
    lines = Path(signed("default", "old", tmp_path / "headers")).read_text().splitlines()
    options = [part for line in lines for part in ("-H", line)]
    done = run("verify", *options, "--at", NOW, "--json", SENDOFF_WEBHOOK_SECRET="new old")
    assert json.loads(done.stdout) == {"valid": True, "event": json.loads(BODY)}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"secret": "other"}, "no_signature_matches"),
        ({"body": BODY + b" "}, "no_signature_matches"),
        ({"at": "1777034397"}, "too_old"),
        ({"at": "1777033795"}, "too_new"),
        ({"at": "1777034100", "tolerance": "3s"}, "too_old"),
        ({"dialect": "dialbird"}, "missing_header"),
        ({"dialect": "standard-v1a"}, "missing_header"),
    ],
    ids=str,
)
def test_a_request_that_fails_verification_is_exit_code_1_with_the_reason(
    changes: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    headers = signed("default", "right", tmp_path / "headers")
    body = changes.pop("body", BODY)
    chosen = {"secret": "right", "at": NOW, **changes}
    options = [part for name, value in chosen.items() for part in (f"--{name}", value)]
    done = run("verify", *options, "--headers", headers, "--json", body=body)
    assert (done.exit_code, json.loads(done.stdout)["problem"]) == (1, problem)
    assert f"not valid ({problem})" in done.stderr


def test_a_secret_of_another_dialect_is_reported_as_such(tmp_path: Path) -> None:
    headers = signed("standard", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", tmp_path / "headers")
    done = run("verify", "--dialect", "standard", "--secret", "no base64!", "--headers", headers, "--at", NOW)
    assert (done.exit_code, "bad_secret" in done.stderr) == (1, True)
    done = run("sign", "--dialect", "standard", "--secret", "no base64!")
    assert (done.exit_code, "cannot be signed" in done.stderr) == (1, True)


def test_an_installations_own_brand_signs_and_verifies(tmp_path: Path) -> None:
    brand = {"SENDOFF_BRAND": "Acme", "SENDOFF_DIALECT_SIGNATURE_SCHEME": "slack"}
    headers = signed("default", "s", tmp_path / "headers", **brand)
    assert "X-Acme-Signature: v0=" in Path(headers).read_text()
    for name in ("default", "house", "acme"):
        done = run("verify", "--dialect", name, "--secret", "s", "--headers", headers, "--at", NOW, body=BODY, **brand)
        assert done.exit_code == 0, done.output
    assert run("verify", "--secret", "s", "--headers", headers, "--at", NOW).exit_code == 1


def test_headers_are_printed_as_json_too() -> None:
    done = run("sign", "--secret", "s", "--at", NOW, "--json", "--type", "a.b", "--id", "evt_1", body=b"no JSON")
    headers = json.loads(done.stdout)
    assert (headers["X-OptimalDial-Event"], headers["X-OptimalDial-Event-Id"]) == ("a.b", "evt_1")


@pytest.mark.parametrize(
    "arguments",
    [
        ["sign", "--secret", "s", "--dialect", "morse"],
        ["verify", "--secret", "s", "--dialect", "morse"],
        ["verify", "--secret", "s", "--tolerance", "soon"],
        ["verify"],
        ["sign"],
    ],
    ids=" ".join,
)
def test_invalid_options_are_explained(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.exit_code in (1, 2)
    assert "Traceback" not in done.output


def test_a_body_without_a_type_needs_the_option() -> None:
    assert run("sign", "--secret", "s", body=b"{}").exit_code == 2


def test_an_explanation_names_the_mistake_and_what_each_secret_gives(tmp_path: Path) -> None:
    headers = signed("default", "right", tmp_path / "headers")
    options = ["--headers", headers, "--at", NOW, "--explain"]
    done = run("verify", *options, "--secret", "right", body=BODY + b"\n")
    assert done.exit_code == 1
    assert "The signature fits the body without the newline at its end. (newline_added)" in done.stdout
    explained = json.loads(run("verify", *options, "--secret", "right", "--json").stdout)
    assert (explained["valid"], explained["findings"], explained["secrets"][0]["matches"]) == (True, [], True)
    right = explained["secrets"][0]["expected"]
    done = run("verify", *options, "--secret", "right", "--computed", right, "--json")
    assert [one["code"] for one in json.loads(done.stdout)["findings"]] == ["computed_right"]


def test_an_installation_with_its_own_brand_explains_requests_of_other_dialects(tmp_path: Path) -> None:
    headers = signed("default", "right", tmp_path / "headers", SENDOFF_BRAND="Acme")
    options = ["--headers", headers, "--at", NOW, "--explain", "--json", "--secret", "right", "--dialect", "standard"]
    found = json.loads(run("verify", *options, SENDOFF_BRAND="Acme").stdout)["findings"]
    assert [one["code"] for one in found] == ["missing_header", "other_dialect"]
    assert found[1]["message"].endswith("signature is right for that dialect.")
