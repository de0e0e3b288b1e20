"""Every answer carries the common headers, and every request is counted and logged."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import httpx
import msgspec
import pytest
from support.memory import KEY, MemoryGateway
from support.serving import serving

from gateway.api import build_app
from gateway.api.http.observe import verb_of
from gateway.app import SURFACES
from gateway.settings.logs import setup_logs


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    setup_logs("debug", "json", stream)
    yield stream
    setup_logs()


async def test_every_answer_carries_a_request_id_and_the_callers_own_if_it_is_a_plain_one(client: httpx.AsyncClient):
    for path in ("/health/live", "/nothing", "/run", "/status/x"):
        one, two = await client.get(path), await client.get(path)
        assert one.headers["x-request-id"] != two.headers["x-request-id"]
        own = await client.get(path, headers={"X-Request-ID": "a-job.1:2_3"})
        assert own.headers["x-request-id"] == "a-job.1:2_3"
        odd = await client.get(path, headers={"X-Request-ID": "a b\tc" + "x" * 200})
        assert odd.headers["x-request-id"] != "a b\tc" + "x" * 200


async def test_every_answer_forbids_sniffing_and_keeping(client: httpx.AsyncClient, gateway: MemoryGateway):
    for answer in (await client.get("/health"), await client.get("/nothing"), await client.post("/run")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
    audio = await client.get(gateway.record(b"sound"))
    assert audio.headers["cache-control"].startswith("private")
    assert audio.headers["x-content-type-options"] == "nosniff"


async def test_requests_are_counted_by_verb_and_status_never_by_path(client: httpx.AsyncClient):
    await client.post("/run", json={"input": {"text": "a"}})
    await client.post("/v2/70sq2akye030kh/run", json={"input": {"text": "a"}})
    await client.get("/status/some-private-id")
    await client.get("/some/private/path")
    text = (await client.get("/metrics")).text
    assert 'voxgate_http_requests_total{status="200",verb="run"} 2.0' in text
    assert 'voxgate_http_requests_total{status="404",verb="status"} 1.0' in text
    assert 'voxgate_http_requests_total{status="404",verb="none"} 1.0' in text
    assert "private" not in text


async def test_metrics_can_be_kept_to_administrators_or_turned_off(gateway: MemoryGateway):
    for access, keyless, keyed, speaker in (("open", 200, 200, 200), ("key", 401, 200, 403), ("off", 404, 404, 404)):
        gateway.settings = msgspec.structs.replace(gateway.settings, metrics_access=access)
        async with serving(build_app(gateway, SURFACES)) as url, httpx.AsyncClient(base_url=url) as client:
            assert (await client.get("/metrics")).status_code == keyless
            assert (await client.get("/metrics", headers={"Authorization": KEY})).status_code == keyed
            assert (await client.get("/metrics", headers={"Authorization": "listen-only"})).status_code == speaker


async def test_log_lines_carry_the_request_id_and_no_text_key_or_query(gateway: MemoryGateway, lines: io.StringIO):
    async with (
        serving(build_app(gateway, SURFACES)) as url,
        httpx.AsyncClient(base_url=url, headers={"Authorization": KEY}) as client,
    ):
        await client.post("/run", json={"input": {"text": "very private"}}, headers={"X-Request-ID": "r-1"})
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
