"""The fast lane and the handlers give the same answers, byte for byte, to every kind of request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from support.running import KEY, settings_of
from support.serving import serving

from gateway.api import build_app
from gateway.api.http.asgi import Lane
from gateway.api.http.connection import Connection
from gateway.app import SURFACES, Gateway
from gateway.clock import SystemClock

pytestmark = pytest.mark.asyncio(loop_scope="module")

HIT = b'{"text":"known"}'


class StandingClock(SystemClock):
    """Wall time stands still, so that both answers of a pair name the same second."""

    def __init__(self) -> None:
        self.wall_ms = super().now_ms() // 60_000 * 60_000  # a limit's minute has just begun

    def now_ms(self) -> int:
        return self.wall_ms


class Lanes:
    """The same gateway with the fast lane, over a real server, and without it; and keys by what is wrong with them."""

    def __init__(self, gateway: Gateway, lane: Lane, fast: httpx.AsyncClient, plain: httpx.AsyncClient) -> None:
        self.gateway = gateway
        self.fast = fast
        self.plain = plain
        self.lane = lane
        self.keys: dict[str, str] = {}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lanes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lanes]:
    clock = StandingClock()
    gateway = Gateway(settings_of(tmp_path_factory.mktemp("gateway"), max_body_runsync_bytes=100_000), clock)
    app = build_app(gateway.port, SURFACES)
    assert app.lane is not None
    without = httpx.ASGITransport(app=app)
    async with (
        serving(app) as url,
        httpx.AsyncClient(base_url=url) as fast,
        httpx.AsyncClient(base_url=url, transport=without) as plain,
    ):
        for content in (BODY, WAV):
            spoken = await fast.post("/v2/default/runsync", content=content, headers=GOOD)
            assert spoken.json()["status"] == "COMPLETED"
        lanes = Lanes(gateway, app.lane, fast, plain)
        await make_keys(lanes, clock)
        yield lanes


async def make_keys(lanes: Lanes, clock: StandingClock) -> None:
    """A key of the same tenant for every reason to refuse it."""
    access = lanes.gateway.access
    made = {
        "without the scope": await access.keys.create(scopes=("voices",)),
        "spent": await access.keys.create(requests_per_minute=1),
        "too few characters": await access.keys.create(characters_per_day=1),
        "revoked": await access.keys.create(),
        "expired": await access.keys.create(expires_ms=clock.wall_ms + 1000),
    }
    lanes.keys = {name: key.secret for name, key in made.items()}
    await access.refresh()
    for name in ("spent", "revoked", "expired"):  # each of them was good once
        headers = {"Authorization": f"Bearer {lanes.keys[name]}"}
        assert (await lanes.fast.post("/runsync", content=BODY, headers=headers)).status_code == 200
    await access.keys.revoke(made["revoked"].record.id)
    await access.refresh()
    clock.wall_ms += 2000


GOOD = {"Authorization": f"Bearer {KEY}"}
BODY = b'{"input": ' + HIT + b"}"
WAV = b'{"input": {"text": "known", "format": "wav"}}'
REQUESTS: dict[str, dict[str, Any]] = {
    "hit": {},
    "hit at the root": {"url": "/runsync"},
    "input in input": {"content": b'{"input": {"input": ' + HIT + b"}}"},
    "another format": {"content": WAV},
    "delivered by address": {"content": b'{"input": {"text": "known", "delivery": "url"}}'},
    "bad input": {"content": b'{"input": {"text": "known", "speed": 9}}'},
    "with a wrong policy": {"content": b'{"policy": {"ttl": 1}, "input": ' + HIT + b"}"},
    "with s3Config": {"content": b'{"s3Config": {}, "input": ' + HIT + b"}"},
    "hit with a wait": {"url": "/runsync?wait=1000"},
    "bare key": {"headers": {"Authorization": KEY}},
    "unknown keys beside input": {"content": b'{"timeout": 3, "input": ' + HIT + b"}"},
    "with a policy": {"content": b'{"policy": {"ttl": 20000}, "input": ' + HIT + b"}"},
    "miss that fails": {"content": b'{"input": {}}'},
    "form content type": {"headers": {**GOOD, "Content-Type": "application/x-www-form-urlencoded"}},
    "wait too short": {"url": "/runsync?wait=1"},
    "wait twice": {"url": "/runsync?wait=1000&wait=2000"},
    "other query": {"url": "/runsync?x=1"},
    "no key": {"headers": {}},
    "wrong key": {"headers": {"Authorization": "Bearer no"}},
    "not json": {"content": b"{"},
    "empty": {"content": b""},
    "no input": {"content": b"{}"},
    "too large": {"content": b'{"input": "' + b"a" * 100_000 + b'"}'},
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
    if answer.status_code == 200:
        job = answer.json()
        content = content.replace(job["id"].encode(), b"")  # a new job each time
    return answer.status_code, headers, content


async def both(lanes: Lanes, **changes: Any) -> tuple[httpx.Response, httpx.Response]:
    request = {"method": "POST", "url": "/v2/default/runsync", "content": BODY, "headers": GOOD} | changes
    return await lanes.fast.request(**request), await lanes.plain.request(**request)


@pytest.mark.parametrize("name", REQUESTS)
async def test_both_ways_answer_alike(name: str, lanes: Lanes):
    fast, plain = await both(lanes, **REQUESTS[name])
    assert seen(fast) == seen(plain)
    assert ("x-request-id" in fast.headers) and ("x-request-id" in plain.headers)


@pytest.mark.parametrize(
    ("name", "status"),
    [("without the scope", 403), ("spent", 429), ("too few characters", 429), ("revoked", 401), ("expired", 401)],
)
async def test_both_ways_refuse_a_key_alike(name: str, status: int, lanes: Lanes):
    for headers in ({"Authorization": f"Bearer {lanes.keys[name]}"}, {"Authorization": lanes.keys[name]}):
        fast, plain = await both(lanes, headers=headers)
        assert fast.status_code == status
        assert seen(fast) == seen(plain)
        assert ("retry-after" in fast.headers) is (status == 429)


async def test_a_hit_is_answered_without_the_application_and_its_job_can_be_asked_for(lanes: Lanes):
    scope = {"scheme": "http", "headers": [(b"authorization", f"Bearer {KEY}".encode())]}
    answer = lanes.lane(scope, b"/runsync", BODY)
    assert answer is not None
    job = json.loads(b"".join(answer[1]))
    assert job["output"]["cache_hit"] is True
    status = await lanes.fast.get(f"/status/{job['id']}", headers=GOOD)
    assert status.json()["output"]["audio_base64"] == job["output"]["audio_base64"]


async def test_what_goes_wrong_in_the_lane_is_left_to_the_application(lanes: Lanes, monkeypatch: pytest.MonkeyPatch):
    def crash(*_: Any) -> Any:
        raise RuntimeError("a defect")

    monkeypatch.setattr(type(lanes.gateway.jobs), "hot", crash)
    answer = await lanes.fast.post("/runsync", content=BODY, headers=GOOD)
    assert (answer.status_code, answer.json()["status"]) == (200, "COMPLETED")


def written(path: str, body: bytes, version: str = "1.1", *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/{version}", "Host: x", f"Authorization: Bearer {KEY}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


async def next_answer(reader: asyncio.StreamReader) -> tuple[str, dict[str, Any]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
    return head, json.loads(await reader.readexactly(length))


async def test_requests_in_one_packet_are_answered_in_their_order(lanes: Lanes):
    slow = b'{"input": {"text": "not known yet", "options": {"delay_s": 0.2}}}'
    sent = [BODY, slow, BODY, b'{"input": {}}', BODY]
    reader, writer = await asyncio.open_connection(lanes.fast.base_url.host, lanes.fast.base_url.port)
    async with asyncio.timeout(60):
        writer.write(b"".join(written("/runsync", body) for body in sent))
        answers = [(await next_answer(reader))[1] for _ in sent]
    writer.close()
    assert [answer["status"] for answer in answers] == ["COMPLETED", "COMPLETED", "COMPLETED", "FAILED", "COMPLETED"]
    assert [answer.get("output", {}).get("cache_hit") for answer in answers] == [True, False, True, None, True]


async def test_a_slow_request_behind_a_hit_is_not_taken_for_an_idle_connection(tmp_path: Path):
    class Hasty(Connection):
        def __init__(self, *args: Any, **others: Any) -> None:
            super().__init__(*args, **others)
            self.timeout_keep_alive = 0.2

    slow = b'{"input": {"text": "slower than idle callers are kept", "options": {"delay_s": 1}}}'
    app = build_app(Gateway(settings_of(tmp_path)).port, SURFACES)
    async with serving(app, Hasty) as url, asyncio.timeout(60), httpx.AsyncClient(base_url=url) as client:
        for _ in range(2):  # the second time it is in memory
            await client.post("/runsync", content=BODY, headers=GOOD)
        where = httpx.URL(url)
        reader, writer = await asyncio.open_connection(where.host, where.port)
        writer.write(written("/runsync", BODY) + written("/runsync", slow))
        assert (await next_answer(reader))[1]["output"]["cache_hit"] is True
        assert (await next_answer(reader))[1]["status"] == "COMPLETED"
        writer.close()


@pytest.mark.parametrize("cut", [1, 60, 120, -1])
async def test_a_hit_that_comes_in_two_packets_is_answered(cut: int, lanes: Lanes):
    request = written("/runsync", BODY)
    reader, writer = await asyncio.open_connection(lanes.fast.base_url.host, lanes.fast.base_url.port)
    async with asyncio.timeout(60):
        for _ in range(2):  # and the connection goes on
            writer.write(request[:cut])
            await asyncio.sleep(0.05)
            writer.write(request[cut:])
            assert (await next_answer(reader))[1]["output"]["cache_hit"] is True
    writer.close()


@pytest.mark.parametrize(("version", "headers"), [("1.1", ["Connection: close"]), ("1.0", [])])
async def test_a_caller_who_wants_no_more_is_hung_up_on(version: str, headers: list[str], lanes: Lanes):
    reader, writer = await asyncio.open_connection(lanes.fast.base_url.host, lanes.fast.base_url.port)
    async with asyncio.timeout(60):
        writer.write(written("/runsync", BODY, version, *headers))
        head, answer = await next_answer(reader)
        assert answer["output"]["cache_hit"] is True and "connection: close" in head
        assert await reader.read() == b""
    writer.close()


async def test_hits_are_counted_like_all_other_answers(lanes: Lanes):
    def counted() -> float:
        return lanes.gateway.metrics.http_requests.labels("runsync", "200")._value.get()

    before = counted()
    assert (await lanes.fast.post("/runsync", content=BODY, headers=GOOD)).status_code == 200
    assert counted() == before + 1


async def test_a_body_that_comes_in_pieces_is_replayed_whole(lanes: Lanes):
    async def pieces() -> AsyncIterator[bytes]:
        for byte in BODY:
            yield bytes([byte])

    answer = await lanes.fast.post("/runsync", content=pieces(), headers=GOOD)
    assert answer.json()["status"] == "COMPLETED"


async def test_with_cors_a_page_gets_its_headers_on_hits_too(tmp_path: Path):
    settings = settings_of(tmp_path, cors_origins=("https://app.example",))
    async with (
        serving(build_app(Gateway(settings).port, SURFACES)) as url,
        httpx.AsyncClient(base_url=url, headers=GOOD) as client,
    ):
        for _ in range(2):
            answer = await client.post("/runsync", content=BODY, headers={"Origin": "https://app.example"})
            assert answer.headers["access-control-allow-origin"] == "https://app.example"
        preflight = await client.options(
            "/runsync",
            headers={
                "Origin": "https://app.example",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang",
            },
        )
        assert preflight.status_code == 204
        assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
        stranger = await client.post("/runsync", content=BODY, headers={"Origin": "https://evil.example"})
        assert stranger.headers.get("access-control-allow-origin") != "https://evil.example"


async def test_without_cors_no_page_of_another_origin_is_let_in(lanes: Lanes):
    answer = await lanes.fast.post("/runsync", content=BODY, headers={**GOOD, "Origin": "https://app.example"})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers
