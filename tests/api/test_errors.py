"""Every error is `{"error": "..."}` with a status a client can act on."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.running import Caller, running

from gateway.jobs.service import Jobs

pytestmark = pytest.mark.asyncio(loop_scope="module")


def words(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    return answer.json()["error"]


@pytest.mark.parametrize("path", ["/run", "/v2/default/runsync", "/status/x", "/health", "/v2/default"])
@pytest.mark.parametrize("key", [None, "Bearer wrong", "Bearer", "Basic YTpi", "wrong"])
async def test_without_a_good_key_it_is_401(client: httpx.AsyncClient, path: str, key: str | None):
    client.headers.pop("Authorization")
    headers = {} if key is None else {"Authorization": key}
    method = "POST" if "run" in path else "GET"
    answer = await client.request(method, path, headers=headers)
    assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized"})


async def test_a_key_without_the_scope_is_403(real: Caller):
    answer = await real.http.get("/health", headers=await real.new_key(scopes=("voices",)))
    assert (answer.status_code, "scope" in words(answer)) == (403, True)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "json is invalid: the body is empty"),
        (b"not json", "json is invalid"),
        (b'{"input": ', "json is invalid"),
        (b"\xff\xfe", "json is invalid"),
        (b'{"input": {"text": "Hi.", "speed": NaN}}', "JSON has no NaN, only finite numbers"),
        (b"[]", 'the request is invalid: it must be an object, got a list; send {"input": {"text": "..."}}'),
        (b"{}", "input is missing"),
        (b'{"input": null}', "input is missing"),
        (b'{"input": {"text": "a"}, "webhook": 3}', "webhook must be text, got an integer"),
        (b'{"input": {"text": "a"}, "policy": {"ttl": "soon"}}', "policy.ttl must be an integer, got text"),
        (b'{"input": {"text": "a"}, "policy": {"ttl": 1}}', "policy.ttl is invalid; must be between"),
    ],
)
@pytest.mark.parametrize("verb", ["run", "runsync"])
async def test_a_wrong_envelope_is_400_and_says_why(client: httpx.AsyncClient, verb: str, body: bytes, says: str):
    answer = await client.post(f"/{verb}", content=body)
    assert answer.status_code == 400
    assert says in words(answer)


@pytest.mark.parametrize("wait", ["999", "300001", "soon", "-1", "1e9"])
async def test_a_wait_out_of_range_is_refused_in_runpods_words(client: httpx.AsyncClient, wait: str):
    answer = await client.post(f"/runsync?wait={wait}", json={"input": {"text": "a"}})
    assert answer.status_code == 400
    assert words(answer) == "wait is invalid; must be between 1000 and 300000"


async def test_a_strangers_job_is_404(client: httpx.AsyncClient, real: Caller):
    stranger = await real.new_key(tenant="stranger")
    job = (await client.post("/run", json={"input": {"text": "a"}})).json()["id"]
    for method, verb in (("GET", "status"), ("POST", "cancel"), ("POST", "retry"), ("GET", "status-sync")):
        answer = await client.request(method, f"/{verb}/{job}", headers=stranger)
        assert answer.status_code == 404, verb
        words(answer)


async def test_unknown_addresses_and_endpoints_are_404(client: httpx.AsyncClient):
    for path in ("/nothing", "/v2", "/v2/default/nothing", "/schema", "/schema/x", "/docs/x", "/status"):
        answer = await client.get(path)
        assert answer.status_code == 404, path
        words(answer)


async def test_an_unknown_endpoint_is_404_where_endpoints_are_made_by_hand(tmp_path: Path):
    async with running(tmp_path, auto_endpoints=False) as caller:
        answer = await caller.http.post("/v2/unknown/run", json={"input": {"text": "a"}})
        assert answer.status_code == 404 and "voxgate endpoints list" in words(answer)


async def test_a_wrong_method_is_405_and_names_the_right_ones(client: httpx.AsyncClient):
    answer = await client.get("/run")
    assert answer.status_code == 405
    assert "POST" in answer.headers["allow"]
    words(answer)


@pytest.mark.parametrize(("path", "limit"), [("/run", 50_000), ("/runsync", 100_000), ("/v2/default/run", 50_000)])
async def test_a_body_above_its_limit_is_413_before_it_is_read(client: httpx.AsyncClient, path: str, limit: int):
    body = b'{"input": {"text": "a"}, "unknown": "' + b"b" * limit + b'"}'
    answer = await client.post(path, content=body)
    assert answer.status_code == 413
    assert words(answer) == f"json is invalid; max size is {limit / 1e6:g} MB ({limit} bytes)"
    assert (await client.post(path, content=body[: limit - 10] + b'"}')).status_code == 200

    async def endless():
        for _ in range(1000):
            yield b"a" * 10_000
            await asyncio.sleep(0)

    try:
        answer = await client.post(path, content=endless())
    except httpx.WriteError:
        return  # the server had answered and closed before we had sent everything
    assert answer.status_code == 413


@pytest.mark.parametrize(("path", "limit"), [("/run", 10_000_000), ("/v2/default/runsync", 20_000_000)])
async def test_unless_set_otherwise_bodies_may_have_what_runpod_takes(tmp_path: Path, path: str, limit: int) -> None:
    async with running(tmp_path) as caller:
        body = b'{"input": {"text": "a"}, "unknown": "' + b"b" * (limit - 39) + b'"}'
        assert len(body) == limit
        assert (await caller.http.post(path, content=body)).status_code == 200
        answer = await caller.http.post(path, content=body + b" ")
        assert answer.status_code == 413
        assert words(answer) == f"json is invalid; max size is {limit // 1_000_000} MB ({limit} bytes)"


async def test_a_full_limit_is_429_with_whole_seconds_to_wait(real: Caller):
    few = await real.new_key(requests_per_minute=1)
    assert (await real.http.post("/run", json={"input": {"text": "a"}}, headers=few)).status_code == 200
    for path in ("/run", "/runsync"):
        answer = await real.http.post(path, json={"input": {"text": "a"}}, headers=few)
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert "1 request" in words(answer)


async def test_a_defect_is_500_without_its_text_and_with_the_request_id(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
):
    async def crash(*_: Any, **__: Any) -> None:
        raise RuntimeError("a defect with a secret text inside")

    monkeypatch.setattr(Jobs, "submit", crash)
    answer = await client.post("/run", json={"input": {"text": "explode"}}, headers={"X-Request-ID": "find-me"})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "find-me" in words(answer)


async def test_readiness_is_503_while_the_gateway_cannot_take_jobs(tmp_path: Path):
    async with running(tmp_path) as caller:
        caller.http.headers.pop("Authorization")
        assert (await caller.http.get("/health/live")).json() == {"status": "live"}
        ready = (await caller.http.get("/health/ready")).json()
        assert (ready["status"], ready["checks"]["database"]) == ("ready", "ok")
        await caller.gateway.stop()
        answer = await caller.http.get("/health/ready")
        assert answer.status_code == 503
        assert words(answer) == "the server is starting or stopping"


async def test_a_compressed_body_is_told_to_come_as_it_is(client: httpx.AsyncClient):
    body = gzip.compress(b'{"input": {"text": "Hello."}}')
    answer = await client.post("/run", content=body, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 400
    assert words(answer) == "a body in Content-Encoding 'gzip' is not supported: send it uncompressed"


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
async def test_a_monitor_may_ask_by_head(client: httpx.AsyncClient, path: str):
    answer = await client.head(path, headers={"Authorization": ""})
    assert (answer.status_code, answer.content) == (200, b"")
