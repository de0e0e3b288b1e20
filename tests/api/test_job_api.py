"""RunPod's job API as its clients use it."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import httpx
import pytest
from support.running import KEY, Caller

from gateway.access.principal import SCOPES
from gateway.access.service import Access

pytestmark = pytest.mark.asyncio(loop_scope="module")

PREFIXES = ["/v2/70sq2akye030kh", ""]
SLOW = {"options": {"delay_s": 30}}


async def finished(real: Caller, path: str, method: str = "GET") -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            answer = await real.http.request(method, path)
            assert answer.status_code == 200
            if answer.json()["status"] not in ("IN_QUEUE", "IN_PROGRESS"):
                return dict(answer.json())
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_the_guides_client_gets_its_speech(real: Caller, prefix: str) -> None:
    body = {"input": {"text": f"Hello! This is a test of {prefix or 'the root'}.", "format": "mp3", "speed": 1.0}}
    queued = await real.http.post(f"{prefix}/run", json=body)
    assert queued.status_code == 200
    assert set(queued.json()) == {"id", "status"} and queued.json()["status"] == "IN_QUEUE"
    job = queued.json()["id"]
    done = await finished(real, f"{prefix}/status/{job}")
    assert done["status"] == "COMPLETED"
    assert len(base64.b64decode(done["output"]["audio_base64"])) > 1000
    assert done["output"]["mimetype"] == "audio/mpeg"
    assert isinstance(done["delayTime"], int) and isinstance(done["executionTime"], int)
    assert (await finished(real, f"{prefix}/status/{job}", "POST"))["output"] == done["output"]
    again = await real.http.post(f"{prefix}/cancel/{job}", json={})
    assert again.json() == {"id": job, "status": "COMPLETED"}


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_runsync_answers_with_the_speech(real: Caller, prefix: str) -> None:
    body = {"input": {"text": "hello"}, "timeout": 3, "webhookV2": "unknown keys are ignored"}
    answer = await real.http.post(f"{prefix}/runsync?wait=90000", json=body)
    assert answer.status_code == 200
    assert answer.json()["id"].startswith("sync-")
    assert answer.json()["status"] == "COMPLETED"
    assert answer.headers["content-type"] == "application/json"


async def test_runsync_answers_with_the_unfinished_job_when_the_wait_is_over(real: Caller) -> None:
    answer = await real.http.post("/runsync?wait=1000", json={"input": {"text": "slow", **SLOW}})
    assert (answer.status_code, answer.json()["status"] in ("IN_QUEUE", "IN_PROGRESS")) == (200, True)
    job = answer.json()["id"]
    held = await real.http.get(f"/status-sync/{job}?wait=1000")
    assert held.json()["status"] in ("IN_QUEUE", "IN_PROGRESS")
    cancelled = await real.http.post(f"/cancel/{job}", content=b"", headers={"Content-Type": "application/json"})
    assert (cancelled.status_code, cancelled.json()) == (200, {"id": job, "status": "CANCELLED"})


@pytest.mark.parametrize("verb", ["runsync", "status-sync"])
async def test_a_caller_who_goes_away_is_waited_for_no_longer_and_the_job_goes_on(real: Caller, verb: str) -> None:
    def gone() -> float:
        return real.gateway.metrics.http_requests.labels(verb, "499")._value.get()

    before = gone()
    asked = {"input": {"text": f"left alone, {verb}", "options": {"delay_s": 2}}}
    job = None
    with pytest.raises(httpx.ReadTimeout):
        if verb == "runsync":
            await real.http.post("/runsync?wait=300000", json=asked, timeout=0.5)
        else:
            job = (await real.http.post("/run", json=asked)).json()["id"]
            await real.http.get(f"/status-sync/{job}?wait=300000", timeout=0.5)
    async with asyncio.timeout(30):
        while gone() == before:
            await asyncio.sleep(0.02)
    if job is not None:
        assert (await finished(real, f"/status/{job}"))["status"] == "COMPLETED"


async def test_status_sync_answers_when_the_job_is_done(real: Caller) -> None:
    job = (await real.http.post("/run", json={"input": {"text": "held until done"}})).json()["id"]
    for method in ("GET", "POST"):
        held = await real.http.request(method, f"/status-sync/{job}?wait=90000")
        assert held.json()["status"] == "COMPLETED"


async def test_purge_queue_says_how_many_it_removed(real: Caller) -> None:
    answer = await real.http.post("/v2/an-empty-one/purge-queue", content=b"")
    assert (answer.status_code, answer.json()) == (200, {"removed": 0, "status": "completed"})


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({}, "text"),
        ({"text": "a", "speed": 3.0}, "speed must be between 0.5 and 2.0, got 3.0"),
        ({"text": "a", "speeed": 1}, "speed"),
        ("just a string", "input"),
        ([1, 2], "input"),
    ],
)
async def test_bad_input_is_a_failed_job_with_status_200(real: Caller, asked: Any, says: str) -> None:
    failed = await real.http.post("/runsync", json={"input": asked})
    assert failed.status_code == 200
    assert failed.json()["status"] == "FAILED"
    assert says in failed.json()["error"]


async def test_only_a_failed_job_can_be_tried_again(real: Caller) -> None:
    fails = {"input": {"text": "it fails", "options": {"fail": "as asked"}}}
    failed = (await real.http.post("/runsync", json=fails)).json()
    assert failed["status"] == "FAILED"
    retried = await real.http.post(f"/retry/{failed['id']}")
    assert (retried.status_code, retried.json()) == (200, {"id": failed["id"], "status": "IN_QUEUE"})
    assert (await finished(real, f"/status/{failed['id']}"))["status"] == "FAILED"
    done = (await real.http.post("/runsync", json={"input": {"text": "hello"}})).json()
    refused = await real.http.post(f"/retry/{done['id']}")
    assert refused.status_code == 409 and "COMPLETED" in refused.json()["error"]


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "nonsense;;"])
async def test_json_is_read_whatever_the_content_type_says(real: Caller, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = await real.http.post("/run", content=b'{"input": {"text": "hello"}}', headers=headers)
    assert (answer.status_code, answer.json()["status"]) == (200, "IN_QUEUE")


async def test_the_bare_key_is_as_good_as_the_bearer_key(real: Caller) -> None:
    answer = await real.http.post("/run", json={"input": {"text": "hello"}}, headers={"Authorization": KEY})
    assert answer.status_code == 200


async def test_health_and_the_endpoint_tell_what_dashboards_read(real: Caller) -> None:
    health = (await real.http.get("/v2/70sq2akye030kh/health")).json()
    assert set(health["jobs"]) == {"completed", "failed", "inProgress", "inQueue", "retried"}
    assert {"idle", "initializing", "ready", "running", "throttled"} <= set(health["workers"])
    assert health["backends"][0]["name"] == "scripted"
    info = (await real.http.get("/v2/70sq2akye030kh")).json()
    assert isinstance(info["activeWorkers"], int) and isinstance(info["jobsInQueue"], int)


async def test_an_idempotency_key_gives_the_same_job_and_refuses_another_body(real: Caller) -> None:
    for verb in ("run", "runsync"):
        headers = {"Idempotency-Key": f"once-{verb}"}
        first = await real.http.post(f"/{verb}", json={"input": {"text": "a"}}, headers=headers)
        again = await real.http.post(f"/{verb}", json={"input": {"text": "a"}}, headers=headers)
        assert first.json()["id"] == again.json()["id"]
        other = await real.http.post(f"/{verb}", json={"input": {"text": "b"}}, headers=headers)
        assert other.status_code == 409


async def test_the_audio_url_leads_back_to_the_host_the_caller_used(real: Caller) -> None:
    for _ in range(2):  # spoken, then from memory
        job = (await real.http.post("/runsync", json={"input": {"text": "address", "format": "wav"}})).json()
        url = job["output"]["audio_url"]
        assert url.startswith(str(real.http.base_url))
        audio = await real.http.get(url, headers={"Authorization": ""})
        assert audio.content == base64.b64decode(job["output"]["audio_base64"])


async def test_voices_and_usage_are_the_callers_own(real: Caller) -> None:
    access: Access = real.gateway.access
    made = await access.keys.create(tenant="another", scopes=SCOPES)
    await access.refresh()
    mine = {"Authorization": made.secret}
    await real.http.post("/runsync", json={"input": {"text": "counted"}}, headers=mine)
    async with asyncio.timeout(30):
        while not (usage := (await real.http.get("/usage?days=1", headers=mine)).json())["usage"]:
            await asyncio.sleep(0.1)
    assert usage["tenant"] == "another"
    assert [(row["characters"], row["jobs"], row["backend"]) for row in usage["usage"]] == [(7, 1, "scripted")]
    voices = (await real.http.get("/voices", headers=mine)).json()["voices"]
    assert {voice["backend"] for voice in voices} == {"scripted"}


async def test_limits_count_the_characters_of_the_text_once(real: Caller) -> None:
    access: Access = real.gateway.access
    made = await access.keys.create(tenant="default", scopes=SCOPES, characters_per_day=12)
    await access.refresh()
    mine = {"Authorization": f"Bearer {made.secret}"}
    for _ in range(3):  # a miss, then hits of the fast lane
        answer = await real.http.post("/runsync", json={"input": {"text": "four"}}, headers=mine)
        assert answer.status_code == 200
    refused = await real.http.post("/runsync", json={"input": {"text": "four"}}, headers=mine)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1


async def test_a_policy_key_that_is_null_counts_as_absent(real: Caller) -> None:
    policy = {"executionTimeout": None, "ttl": None, "lowPriority": None}
    answer = await real.http.post("/runsync", json={"input": {"text": "No policy."}, "policy": policy})
    assert answer.json()["status"] == "COMPLETED"
