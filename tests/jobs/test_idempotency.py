"""A request that is sent twice with the same Idempotency-Key is one job."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
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
        for verb in ("run", "runsync", "run"):
            again = (await caller.post(verb, BODY, headers=KEY)).json()
            assert again["id"] == job_id
            sound_of(again)
            async with asyncio.timeout(30):
                while not (other := await caller.say(**BODY["input"]))["output"]["cache_hit"]:
                    await asyncio.sleep(0.02)
            assert other["id"] != job_id
        assert rows(tmp_path, "SELECT COUNT(*) FROM idempotency_keys") == [(1,)]
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


async def test_a_run_whose_input_was_refused_is_answered_with_the_refusal_when_it_comes_again(tmp_path: Path) -> None:
    bad = {"input": {"text": "Too quick.", "speed": 9}}
    async with running(tmp_path) as caller:
        first, second, third = [(await caller.post("run", bad, headers=KEY)).json() for _ in range(3)]
        assert (first["status"], second["status"], third["status"]) == ("IN_QUEUE", "FAILED", "FAILED")
        assert first["id"] == second["id"] == third["id"]
        assert "between 0.5 and 2" in second["error"]
        (ended,) = caller.gateway.metrics.jobs_finished.collect()
        assert sum(sample.value for sample in ended.samples if sample.name.endswith("_total")) == 1


@pytest.mark.parametrize("blank", ["", "  ", "\t"])
async def test_an_empty_key_is_none(tmp_path: Path, blank: str) -> None:
    async with running(tmp_path) as caller:
        url = caller.http.base_url

        def post(verb: str, text: str) -> dict[str, Any]:
            """As a client that sends what it is told; httpx sends no blanks."""
            connection = HTTPConnection(url.host, url.port or 80, timeout=60)
            headers = {**caller.http.headers, "Idempotency-Key": blank}
            connection.request("POST", f"/v2/tests/{verb}", json.dumps({"input": {"text": text}}), headers)
            with closing(connection), connection.getresponse() as response:
                answer = json.loads(response.read())
                assert response.status == 200, answer
                return dict(answer)

        ids = {
            (await asyncio.to_thread(post, verb, text))["id"]
            for text in ("One thing.", "Another thing.", "Another thing.")
            for verb in ("run", "runsync")
        }
        assert len(ids) == 6
        assert rows(tmp_path, "SELECT COUNT(*) FROM idempotency_keys") == [(0,)]
