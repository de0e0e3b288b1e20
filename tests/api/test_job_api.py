"""RunPod's job API as its clients use it."""

from __future__ import annotations

import httpx
import pytest
from support.memory import MemoryGateway

PREFIXES = ["/v2/70sq2akye030kh", ""]


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_a_job_is_queued_polled_cancelled_and_never_anything_but_200(client: httpx.AsyncClient, prefix: str):
    queued = await client.post(f"{prefix}/run", json={"input": {"text": "hello"}})
    assert queued.status_code == 200
    assert set(queued.json()) == {"id", "status"} and queued.json()["status"] == "IN_QUEUE"
    job = queued.json()["id"]
    for poll in (await client.get(f"{prefix}/status/{job}"), await client.post(f"{prefix}/status/{job}")):
        assert (poll.status_code, poll.json()["status"]) == (200, "IN_QUEUE")
    cancelled = await client.post(f"{prefix}/cancel/{job}", content=b"", headers={"Content-Type": "application/json"})
    assert (cancelled.status_code, cancelled.json()) == (200, {"id": job, "status": "CANCELLED"})
    again = await client.post(f"{prefix}/cancel/{job}", json={})
    assert again.json()["status"] == "CANCELLED"


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_runsync_answers_with_the_speech(client: httpx.AsyncClient, prefix: str):
    answer = await client.post(f"{prefix}/runsync?wait=90000", json={"input": {"text": "hello"}, "timeout": 3})
    assert answer.status_code == 200
    assert answer.json()["output"]["audio_base64"] == "AAAA"
    assert answer.headers["content-type"] == "application/json"


async def test_runsync_answers_with_the_unfinished_job_when_the_wait_is_over(client: httpx.AsyncClient):
    answer = await client.post("/runsync?wait=1000", json={"input": {"text": "say slow"}})
    assert (answer.status_code, answer.json()["status"]) == (200, "IN_QUEUE")
    job = answer.json()["id"]
    held = await client.get(f"/status-sync/{job}?wait=1000")
    assert held.json()["status"] == "IN_QUEUE"
    assert (await client.post("/purge-queue")).json() == {"removed": 1, "status": "completed"}


async def test_bad_input_is_a_failed_job_and_a_failed_job_can_be_tried_again(client: httpx.AsyncClient):
    failed = await client.post("/runsync", json={"input": {}})
    assert failed.status_code == 200
    assert failed.json()["status"] == "FAILED" and failed.json()["error"] == "text is missing"
    retried = await client.post(f"/retry/{failed.json()['id']}")
    assert retried.json() == {"id": failed.json()["id"], "status": "IN_QUEUE"}
    refused = await client.post(f"/retry/{failed.json()['id']}")
    assert refused.status_code == 409 and "IN_QUEUE" in refused.json()["error"]


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "nonsense;;"])
async def test_json_is_read_whatever_the_content_type_says(client: httpx.AsyncClient, content_type: str | None):
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = await client.post("/run", content=b'{"input": {"text": "hello"}}', headers=headers)
    assert (answer.status_code, answer.json()["status"]) == (200, "IN_QUEUE")


async def test_the_bare_key_is_as_good_as_the_bearer_key(client: httpx.AsyncClient):
    answer = await client.post("/run", json={"input": {"text": "a"}}, headers={"Authorization": "a-key-of-the-tests"})
    assert answer.status_code == 200


async def test_health_and_the_endpoint_tell_what_dashboards_read(client: httpx.AsyncClient):
    health = (await client.get("/v2/70sq2akye030kh/health")).json()
    assert set(health["jobs"]) == {"completed", "failed", "inProgress", "inQueue", "retried"}
    assert {"idle", "initializing", "ready", "running", "throttled"} <= set(health["workers"])
    assert health["backends"][0] == {"name": "memory", "state": "ready"}
    info = (await client.get("/v2/70sq2akye030kh")).json()
    assert (info["activeWorkers"], info["jobsInQueue"]) == (1, 0)
    assert (await client.get("/health")).json() == health


async def test_an_idempotency_key_gives_the_same_job_and_refuses_another_body(client: httpx.AsyncClient):
    headers = {"Idempotency-Key": "once"}
    first = await client.post("/run", json={"input": {"text": "a"}}, headers=headers)
    again = await client.post("/run", json={"input": {"text": "a"}}, headers=headers)
    assert first.json()["id"] == again.json()["id"]
    other = await client.post("/run", json={"input": {"text": "b"}}, headers=headers)
    assert other.status_code == 409


async def test_limits_count_the_characters_of_the_text_once(client: httpx.AsyncClient, gateway: MemoryGateway):
    await client.post("/run", json={"input": {"text": "four"}})
    await client.post("/runsync", json={"input": {"input": {"text": "five!"}}})
    await client.post("/runsync", json={"input": {"text": 12}})
    await client.get("/status/nothing")
    assert gateway.access.admitted == [
        ("default", "run", 4),
        ("default", "runsync", 5),
        ("default", "runsync", 0),
        ("default", "status", 0),
    ]


async def test_the_gateway_starts_and_stops_with_the_server(client: httpx.AsyncClient, gateway: MemoryGateway):
    assert gateway.started == ["start"]
