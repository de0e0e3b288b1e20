"""Every answer carries the common headers, and every request is counted and logged."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.running import KEY, Caller, running

from gateway.api.http.observe import verb_of
from gateway.jobs.service import Jobs
from gateway.settings.logs import setup_logs

in_the_modules_loop = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    setup_logs("debug", "json", stream)
    yield stream
    setup_logs()


@in_the_modules_loop
async def test_every_answer_carries_a_request_id_and_the_callers_own_if_it_is_a_plain_one(client: httpx.AsyncClient):
    for path in ("/health/live", "/nothing", "/run", "/status/x"):
        one, two = await client.get(path), await client.get(path)
        assert one.headers["x-request-id"] != two.headers["x-request-id"]
        own = await client.get(path, headers={"X-Request-ID": "a-job.1:2_3"})
        assert own.headers["x-request-id"] == "a-job.1:2_3"
        odd = await client.get(path, headers={"X-Request-ID": "a b\tc" + "x" * 200})
        assert odd.headers["x-request-id"] != "a b\tc" + "x" * 200


@in_the_modules_loop
async def test_every_answer_forbids_sniffing_and_keeping(client: httpx.AsyncClient, real: Caller):
    for answer in (await client.get("/health"), await client.get("/nothing"), await client.post("/run")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
    audio = await client.get((await real.say("A sound."))["output"]["audio_url"])
    assert audio.headers["cache-control"].startswith("private")
    assert audio.headers["x-content-type-options"] == "nosniff"


async def test_requests_are_counted_by_verb_and_status_never_by_path(tmp_path: Path):
    async with running(tmp_path) as caller:
        client = caller.http
        await client.post("/run", json={"input": {"text": "a"}})
        await client.post("/v2/70sq2akye030kh/run", json={"input": {"text": "a"}})
        await client.get("/status/some-private-id")
        await client.get("/some/private/path")
        text = (await client.get("/metrics")).text
    assert 'voxgate_http_requests_total{status="200",verb="run"} 2.0' in text
    assert 'voxgate_http_requests_total{status="404",verb="status"} 1.0' in text
    assert 'voxgate_http_requests_total{status="404",verb="none"} 1.0' in text
    assert "private" not in text


@pytest.mark.parametrize(
    ("access", "keyless", "keyed", "speaker"), [("open", 200, 200, 200), ("key", 401, 200, 403), ("off", 404, 404, 404)]
)
async def test_metrics_can_be_kept_to_administrators_or_turned_off(
    tmp_path: Path, access: str, keyless: int, keyed: int, speaker: int
):
    async with running(tmp_path, metrics_access=access) as caller:
        assert (await caller.http.get("/metrics", headers=await caller.new_key())).status_code == speaker
        assert (await caller.http.get("/metrics")).status_code == keyed
        caller.http.headers.pop("Authorization")
        assert (await caller.http.get("/metrics")).status_code == keyless


async def test_log_lines_carry_the_request_id_and_no_text_key_or_query(
    tmp_path: Path, lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
):
    async def crash(*_: Any, **__: Any) -> None:
        raise RuntimeError("a defect with the text inside: explode")

    async with running(tmp_path) as caller:
        client = caller.http
        await client.post("/run", json={"input": {"text": "very private"}}, headers={"X-Request-ID": "r-1"})
        monkeypatch.setattr(Jobs, "submit", crash)
        await client.post("/run", json={"input": {"text": "explode"}}, headers={"X-Request-ID": "r-2"})
        await client.get("/audio/x?signature=sesame")
    text = lines.getvalue()
    found = {}
    for line in text.splitlines():
        entry = json.loads(line)
        found.setdefault(entry.get("request_id"), []).append(entry)
    assert any(e["status"] == 200 and e["path"] == "/run" for e in found["r-1"])
    assert any("RuntimeError" in e.get("exception", "") for e in found["r-2"])
    assert any(e.get("status") == 500 for e in found["r-2"])
    for secret in ("very private", "explode", KEY, "sesame"):
        assert secret not in text


@pytest.mark.parametrize(
    ("template", "verb"),
    [
        ("/run", "run"),
        ("/v2/{endpoint_id}/run", "run"),
        ("/v2/{endpoint_id}/status-sync/{job_id}", "status-sync"),
        ("/status/{job_id}", "status"),
        ("/v2/{endpoint_id}", "endpoint"),
        ("/health", "health"),
        ("/health/live", "health/live"),
        ("/audio/{blob}", "audio"),
        ("/v1/audio/speech", "speech"),
        ("/v1/models", "models"),
        ("/v1/models/{model:str}", "models"),
        ("/", "page"),
        (None, "none"),
    ],
)
def test_a_route_has_one_verb_wherever_it_is_mounted(template: str | None, verb: str):
    assert verb_of(template) == verb
