"""Log lines about a job carry the id of the request that submitted it, on any server and in any attempt."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.after import rows
from support.lines import Lines, logged
from support.running import KEY, Caller, running

from gateway.jobs.webhooks import deliveries as webhooks
from gateway.settings import JobSettings
from gateway.settings.logs import lines_of
from storage.db.database import Database
from storage.jobs.queue import JobStore

FAILING = {"fail": "engine says no"}


@pytest.fixture
def lines() -> Iterator[Lines]:
    with logged() as lines:
        yield lines


async def submit(caller: Caller, request_id: str, text: str, webhook: str | None = None, **options: Any) -> str:
    body = {"input": {"text": text, "options": options}} | ({} if webhook is None else {"webhook": webhook})
    answer = await caller.post("run", body, headers={"X-Request-ID": request_id})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def until(lines: Lines, event: str, job_id: str, count: int = 1) -> list[dict[str, Any]]:
    """The lines of this event about a job, once there are so many."""
    async with asyncio.timeout(60):
        while len(found := [line for line in lines.of(event) if line.get("job_id") == job_id]) < count:
            await asyncio.sleep(0.02)
    return found


async def test_the_lines_of_a_job_carry_its_own_requests_id_however_long_it_waited(
    tmp_path: Path, lines: Lines
) -> None:
    async with running(tmp_path, jobs=JobSettings(max_running=1)) as caller:
        ids = {f"req-{n}": await submit(caller, f"req-{n}", f"Job {n}.", **FAILING, delay_s=0.2) for n in range(1, 6)}
        for job_id in ids.values():
            await caller.until(job_id, "FAILED")
            await until(lines, "job_ended", job_id)
    assert {line["request_id"]: line["job_id"] for line in lines.of("job_ended")} == ids


async def test_a_job_that_went_well_leaves_a_line_that_says_what_it_took_and_nothing_it_said(
    tmp_path: Path, lines: Lines
) -> None:
    async with running(tmp_path) as caller:
        job_id = await submit(caller, "req-fine", "Nobody reads this in a log.")
        job = await caller.until(job_id)
        (line,) = await until(lines, "job_ended", job_id)
    assert (line["request_id"], line["state"], line["backend"]) == ("req-fine", "COMPLETED", "scripted")
    assert (line["delay_ms"], line["execution_ms"]) == (job["delayTime"], job["executionTime"])
    assert (line["audio_ms"], line["chunks_spoken"]) == (job["output"]["duration_ms"], 1)
    assert "Nobody reads" not in str(lines.of("job_ended"))


@pytest.mark.parametrize(
    ("fields", "code"),
    [({"voice": "nobody"}, "invalid_input"), ({"speed": 9}, "invalid_input"), ({"backend": "hibari"}, None)],
)
async def test_a_job_that_is_refused_when_it_comes_leaves_a_line_with_its_code_and_nothing_it_said(
    tmp_path: Path, lines: Lines, fields: dict[str, Any], code: str | None
) -> None:
    async with running(tmp_path) as caller:
        body = {"input": {"text": "Nobody reads this in a log.", **fields}}
        for _ in range(2):  # the second is the first one's job, and no new one
            headers = {"X-Request-ID": "req-refused", "Idempotency-Key": "once"}
            answer = await caller.post("run", body, headers=headers)
        (job,) = (await caller.http.get(f"/v2/{caller.endpoint}/requests")).json()["requests"]
    (line,) = lines.of("job_refused")
    assert (line["request_id"], line["job_id"]) == ("req-refused", answer.json()["id"])
    assert line["code"] == job["error_code"] == (code or job["error_code"])
    assert job["error"]
    assert "Nobody reads" not in str(line)


async def test_a_job_that_is_tried_again_keeps_the_id_of_the_request_that_brought_it(
    tmp_path: Path, lines: Lines
) -> None:
    async with running(tmp_path) as caller:
        job_id = await submit(caller, "req-first", "It fails twice.", **FAILING)
        await caller.until(job_id, "FAILED")
        answer = await caller.post(f"retry/{job_id}", headers={"X-Request-ID": "req-again"})
        assert answer.status_code == 200
        ended = await until(lines, "job_ended", job_id, 2)
    assert [line["request_id"] for line in ended] == ["req-first", "req-first"]


async def test_a_job_that_another_server_takes_over_keeps_its_requests_id(tmp_path: Path, lines: Lines) -> None:
    jobs = JobSettings(max_running=1, lease_s=0.5, beat_s=0.1)
    async with running(tmp_path, jobs=jobs) as caller:
        busy = await submit(caller, "req-busy", "It keeps the only place.", delay_s=600)
        await caller.until(busy, "IN_PROGRESS")
        job_id = await submit(caller, "req-left", "Its server dies.", **FAILING)
        database = await Database.open(caller.gateway.settings.database_url)
        try:
            assert await JobStore(database).leases.claim([job_id], "w-that-dies")
        finally:
            await database.close()
        (expired,) = await until(lines, "lease_expired", job_id)
        await caller.post(f"cancel/{busy}")
        (ended,) = await until(lines, "job_ended", job_id)
    assert (expired["request_id"], ended["request_id"]) == ("req-left", "req-left")


async def test_a_hit_from_memory_is_not_kept_under_the_id_of_an_earlier_one(tmp_path: Path) -> None:
    said = {"text": "Many ask for this."}
    raw = json.dumps(said).encode()
    async with running(tmp_path) as caller:
        for _ in range(2):  # spoken, then brought to memory
            await caller.say(**said)
        jobs, access = caller.gateway.jobs, caller.gateway.access
        principal = access.authenticate(f"Bearer {KEY}")
        with lines_of("req-earlier"):
            assert jobs.hot(principal, caller.endpoint, raw) is not None
        assert jobs.hot(principal, caller.endpoint, raw) is not None
    kept = [row[0] for row in rows(tmp_path, "SELECT request_id FROM jobs ORDER BY id")]
    assert kept[2:] == [None, None]


async def test_a_webhook_that_fails_is_told_with_the_id_of_the_request_that_asked_for_it(
    tmp_path: Path, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "PAUSES_S", (0.05, 0.05))
    monkeypatch.setattr(webhooks, "POLL_S", 0.05)
    nobody = "http://127.0.0.1:1/hook"
    async with running(tmp_path, webhook_allow=("127.0.0.1",), jobs=JobSettings(max_running=1)) as caller:
        first = await submit(caller, "req-1", "Nobody takes its end.", nobody, delay_s=0.1)
        second = await submit(caller, "req-2", "Nor that of this one.", nobody)
        tried = {job_id: await until(lines, "webhook_failed", job_id, 2) for job_id in (first, second)}
    assert {line["request_id"] for line in tried[first]} == {"req-1"}
    assert {line["request_id"] for line in tried[second]} == {"req-2"}
