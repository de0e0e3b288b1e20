"""The fast lane and the handlers give the same answers, byte for byte, to every kind of request."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
from support.memory import KEY, MemoryGateway
from support.serving import serving

from gateway.api import build_app
from gateway.api.fastlane import FastLane
from gateway.api.observe import Observed

HIT = b'{"text":"known"}'
ANSWER = b'{"id":"sync-1","status":"COMPLETED","delayTime":0,"output":{"audio_base64":"' + b"A" * 27_000 + b'"}}'


def without_lane(app: Any, gateway: MemoryGateway) -> Observed:
    lane = app._app
    assert isinstance(lane, FastLane)
    return Observed(lane._app, gateway.metrics)


@pytest.fixture
async def both(gateway: MemoryGateway) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    gateway.jobs.hits[HIT] = ANSWER
    app = build_app(gateway)
    async with (
        serving(app) as fast_url,
        serving(without_lane(app, gateway)) as plain_url,
        httpx.AsyncClient(base_url=fast_url) as fast,
        httpx.AsyncClient(base_url=plain_url) as plain,
    ):
        yield fast, plain


GOOD = {"Authorization": f"Bearer {KEY}"}
BODY = b'{"input": ' + HIT + b"}"
REQUESTS: dict[str, dict[str, Any]] = {
    "hit": {},
    "hit at the root": {"url": "/runsync"},
    "hit with a wait": {"url": "/runsync?wait=1000"},
    "bare key": {"headers": {"Authorization": KEY}},
    "unknown keys beside input": {"content": b'{"timeout": 3, "input": ' + HIT + b"}"},
    "with a policy": {"content": b'{"policy": {"ttl": 20000}, "input": ' + HIT + b"}"},
    "with a webhook": {"content": b'{"webhook": "https://example.com", "input": ' + HIT + b"}"},
    "miss that fails": {"content": b'{"input": {}}'},
    "form content type": {"headers": {**GOOD, "Content-Type": "application/x-www-form-urlencoded"}},
    "wait too short": {"url": "/runsync?wait=1"},
    "wait twice": {"url": "/runsync?wait=1000&wait=2000"},
    "other query": {"url": "/runsync?x=1"},
    "no key": {"headers": {}},
    "wrong key": {"headers": {"Authorization": "Bearer no"}},
    "no scope": {"headers": {"Authorization": "Bearer listen-only"}},
    "not json": {"content": b"{"},
    "empty": {"content": b""},
    "no input": {"content": b"{}"},
    "too large": {"content": b'{"input": "' + b"a" * 100_000 + b'"}'},
    "unknown endpoint": {"url": "/v2/unknown/runsync"},
    "wrong method": {"method": "GET"},
    "trailing slash": {"url": "/runsync/"},
    "deeper": {"url": "/v2/default/x/runsync"},
    "empty endpoint": {"url": "/v2//runsync"},
    "idempotent": {"headers": {**GOOD, "Idempotency-Key": "once"}},
    "escaped endpoint": {"url": "/v2/def%61ult/runsync"},
    "own request id": {"headers": {**GOOD, "X-Request-ID": "mine"}},
    "run is not answered here": {"url": "/run", "content": b'{"input": {}}'},
}


def seen(answer: httpx.Response) -> tuple[int, dict[str, str], bytes]:
    headers = {k: v for k, v in answer.headers.items() if k not in ("date", "x-request-id")}
    content = answer.content
    if answer.status_code == 200 and answer.json()["id"] != "sync-1":
        content = json.dumps({**answer.json(), "id": ""}).encode()  # a new job each time
    return answer.status_code, headers, content


@pytest.mark.parametrize("name", REQUESTS)
async def test_both_ways_answer_alike(name: str, both: tuple[httpx.AsyncClient, httpx.AsyncClient]):
    request = {"method": "POST", "url": "/v2/default/runsync", "content": BODY, "headers": GOOD} | REQUESTS[name]
    fast, plain = [await client.request(**request) for client in both]
    assert seen(fast) == seen(plain)
    assert ("x-request-id" in fast.headers) and ("x-request-id" in plain.headers)


async def test_a_hit_never_reaches_the_application(gateway: MemoryGateway):
    gateway.jobs.hits[HIT] = ANSWER

    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("the application was asked")

    sent: list[Any] = []
    await ask(FastLane(application, gateway, cors=False), BODY, sent)
    assert sent[1]["body"] == ANSWER
    assert gateway.access.admitted == [("default", "runsync", 5)]


async def test_a_miss_is_counted_against_its_limit_once(both: tuple[httpx.AsyncClient, Any], gateway: MemoryGateway):
    await both[0].post("/runsync", content=b'{"input": {"text": "new"}}', headers=GOOD)
    assert gateway.access.admitted == [("default", "runsync", 3)]


async def test_a_body_that_comes_in_pieces_is_replayed_whole(gateway: MemoryGateway):
    gateway.jobs.hits[HIT] = ANSWER
    async with serving(build_app(gateway)) as url, httpx.AsyncClient(base_url=url, headers=GOOD) as client:

        async def pieces() -> AsyncIterator[bytes]:
            for byte in BODY:
                yield bytes([byte])

        answer = await client.post("/runsync", content=pieces())
    assert answer.json()["id"] == "sync-1"


async def test_with_cors_a_page_gets_its_headers_on_hits_too(gateway: MemoryGateway):
    gateway.jobs.hits[HIT] = ANSWER
    gateway.settings = msgspec.structs.replace(gateway.settings, cors_origins=("https://app.example",))
    async with serving(build_app(gateway)) as url, httpx.AsyncClient(base_url=url, headers=GOOD) as client:
        answer = await client.post("/runsync", content=BODY, headers={"Origin": "https://app.example"})
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        preflight = await client.options(
            "/runsync",
            headers={
                "Origin": "https://app.example",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization,content-type",
            },
        )
        assert preflight.status_code == 204
        assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
        stranger = await client.post("/runsync", content=BODY, headers={"Origin": "https://evil.example"})
        assert stranger.headers.get("access-control-allow-origin") != "https://evil.example"


async def ask(app: Any, body: bytes, sent: list[Any]) -> None:
    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/runsync",
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {KEY}".encode())],
    }
    await app(scope, receive, send)
