"""A request that is sent twice with the same Idempotency-Key is one job."""

from __future__ import annotations

import asyncio
from pathlib import Path

from support.after import rows, sound_of
from support.running import running

BODY = {"input": {"text": "Send this twice.", "options": {"delay_s": 0.3}}}
KEY = {"Idempotency-Key": "order-66"}


async def test_the_same_body_gives_the_same_job_and_another_one_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as caller:
        answers = await asyncio.gather(*(caller.post("run", BODY, headers=KEY) for _ in range(5)))
        assert {answer.status_code for answer in answers} == {200}
        (job_id,) = {answer.json()["id"] for answer in answers}
        other = await caller.post("run", {"input": {"text": "Something else."}}, headers=KEY)
        assert other.status_code == 409
        assert job_id in other.json()["error"]
        sound_of(await caller.until(job_id))
        # Also when it is finished, and when the answer could come from the cache.
        again = await caller.post("run", BODY, headers=KEY)
        assert again.json()["id"] == job_id
        assert rows(tmp_path, "SELECT COUNT(*) FROM jobs") == [(1,)]
        # A key belongs to its endpoint.
        elsewhere = await caller.http.post("/v2/elsewhere/run", json=BODY, headers=KEY)
        assert elsewhere.json()["id"] != job_id


async def test_runsync_keeps_the_promise_too_and_bad_input_has_it_as_well(tmp_path: Path) -> None:
    async with running(tmp_path) as caller:
        first, second = await asyncio.gather(*(caller.post("runsync", BODY, headers=KEY) for _ in range(2)))
        assert first.json()["id"] == second.json()["id"]
        sound_of(second.json())
        bad = {"input": {"text": "Too quick.", "speed": 9}}
        key = {"Idempotency-Key": "order-67"}
        refused = [(await caller.post("runsync", bad, headers=key)).json() for _ in range(2)]
        assert [job["status"] for job in refused] == ["FAILED", "FAILED"]
        assert refused[0]["id"] == refused[1]["id"]
        assert "between 0.5 and 2" in refused[1]["error"]
        assert rows(tmp_path, "SELECT COUNT(*) FROM jobs") == [(2,)]
