"""The signature check in the webhooks page accepts what the server sends, and nothing else."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import WebhookVerificationError
from support.command import command

from gateway.jobs.webhooks import deliveries as webhooks
from gateway.jobs.webhooks.signature import signed_headers, webhook_secret

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")
BODY = b'{"id":"a","status":"COMPLETED"}'
SECRET = webhook_secret(b"the signing key of a server", "default")
Check = Callable[[str, dict[str, str], bytes], Any]


def signed(body: bytes = BODY, secret: str = SECRET, age_s: int = 0) -> dict[str, str]:
    """Return the headers of a delivery."""
    return signed_headers(secret, "job_1", int(time.time()) - age_s, [body[:3], body[3:]])


@pytest.fixture(scope="module", params=["ended_job", "verified"])
def accepts(request: pytest.FixtureRequest) -> Check:
    """Return a check of the page: with the library, and without."""
    space: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, space)

    def accepts(secret: str, headers: dict[str, str], body: bytes) -> bool:
        try:
            return bool(space[request.param](secret, headers, body))
        except (WebhookVerificationError, ValueError):
            assert request.param == "ended_job"  # the library raises, the other check returns
            return False

    return accepts


def test_the_pages_checks_take_what_the_server_signs(accepts: Check) -> None:
    assert accepts(SECRET, signed(), BODY)
    other = signed_headers(SECRET, "job_1", int(time.time()), [b"other"])["webhook-signature"]
    both = signed() | {"webhook-signature": f"{other} {signed()['webhook-signature']}"}
    assert accepts(SECRET, both, BODY)


@pytest.mark.parametrize("header", ["", "nonsense", "v1,", "v2,AAAA", "v1,AAAA", "v1,\u00fc"])
def test_the_pages_checks_refuse_a_signature_that_is_none(accepts: Check, header: str) -> None:
    assert not accepts(SECRET, signed() | {"webhook-signature": header}, BODY)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_the_pages_checks_refuse_a_delivery_without_one_of_its_headers(accepts: Check, name: str) -> None:
    headers = signed()
    del headers[name]
    assert not accepts(SECRET, headers, BODY)


def test_the_pages_checks_refuse_another_body_id_secret_and_day(accepts: Check) -> None:
    assert not accepts(SECRET, signed(), BODY + b" ")
    assert not accepts(SECRET, signed() | {"webhook-id": "job_2"}, BODY)
    assert not accepts(webhook_secret(b"the signing key of a server", "other"), signed(), BODY)
    assert not accepts(SECRET, signed(age_s=86_400), BODY)
    later = signed() | {"webhook-timestamp": str(int(time.time()) + 1)}
    assert not accepts(SECRET, later, BODY)


def test_the_table_of_tries_is_the_schedule() -> None:
    unit = {"s": 1, "min": 60, "h": 3600}
    rows = re.findall(r"^\| [0-9].*? \| (.*) \|$", PAGE, re.MULTILINE)
    told = [int(n) * unit[u] for n, u in re.findall(r"([0-9]+) (s|min|h)\b", " ".join(rows))]
    assert [told[0], *told] == list(webhooks.PAUSES_S)
    assert "After the eleventh" in PAGE and len(webhooks.PAUSES_S) == 10


def test_the_command_shows_the_secret_of_each_tenant_and_an_empty_log(tmp_path: Path) -> None:
    signing = {"VOXGATE_SIGNING_KEY": "the signing key of a server"}
    shown = command(["webhooks", "secret"], tmp_path, signing)
    assert shown.stdout.strip() == SECRET
    assert command(["webhooks", "secret", "--tenant", "books"], tmp_path, signing).stdout != shown.stdout
    assert "no webhooks" in command(["webhooks", "list"], tmp_path, signing).stdout
