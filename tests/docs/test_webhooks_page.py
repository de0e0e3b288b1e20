"""The signature check in the webhooks page accepts what the server sends, and nothing else."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.command import command

from gateway.jobs.webhooks import deliveries as webhooks

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")
BODY = b'{"id":"a","status":"COMPLETED"}'
SECRET = webhooks.webhook_secret(b"the signing key of a server", "default")


@pytest.fixture(scope="module")
def verified() -> Callable[..., bool]:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    space: dict[str, Any] = {}
    exec(block, space)
    return space["verified"]


def test_the_pages_check_takes_what_the_server_signs(verified: Callable[..., bool]) -> None:
    assert verified(SECRET, webhooks.signature(SECRET, int(time.time()), BODY), BODY)


@pytest.mark.parametrize("header", ["", "nonsense", "t=1", "v1=00", "t=x,v1=00", "t=1,v1="])
def test_the_pages_check_refuses_a_header_that_is_none(verified: Callable[..., bool], header: str) -> None:
    assert not verified(SECRET, header, BODY)


def test_the_pages_check_refuses_another_body_secret_and_day(verified: Callable[..., bool]) -> None:
    now = int(time.time())
    signed = webhooks.signature(SECRET, now, BODY)
    assert not verified(SECRET, signed, BODY + b" ")
    assert not verified(webhooks.webhook_secret(b"the signing key of a server", "other"), signed, BODY)
    assert not verified(SECRET, webhooks.signature(SECRET, now - 86_400, BODY), BODY)


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
