"""Two servers on one database."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
from support.after import missing_files, rows, sound_of, spoken
from support.served import Served, site

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("on_both")]

SHORT = {"jobs__lease_s": 5, "jobs__beat_s": 0.3, "jobs__max_running": 3}


async def test_two_servers_share_the_work_and_speak_every_text_once(tmp_path: Path) -> None:
    record = tmp_path / "record"
    async with site(tmp_path, **SHORT, backends__scripted__record=record) as place:
        one, other = await asyncio.gather(place.start(), place.start())
        texts = [f"Text number {n} is spoken once." for n in range(24)]
        ids = await asyncio.gather(
            *((one, other)[n % 2].caller.run(text, options={"delay_s": 0.4}) for n, text in enumerate(texts))
        )
        jobs = [await (other, one)[n % 2].caller.until(job_id) for n, job_id in enumerate(ids)]
        for job in jobs:
            sound_of(job)
            assert "retries" not in job
        assert len({job["workerId"] for job in jobs}) == 2
        assert Counter(text for text, _ in spoken(record)) == dict.fromkeys(texts, 1)
        # A caller who waits at one server for what the other one speaks.
        same = await asyncio.gather(
            *(server.caller.say("All ask for this.", options={"delay_s": 0.5}) for server in (one, other) * 3)
        )
        assert len({job["output"]["audio_base64"] for job in same}) == 1
        assert [text for text, _ in spoken(record)].count("All ask for this.") == 1
        # Finished audio is a hit at either.
        for server in (one, other):
            assert (await server.caller.say(texts[0], options={"delay_s": 0.4}))["output"]["cache_hit"] is True
        assert not await missing_files(place.data_dir)
        assert [await one.stop(), await other.stop()] == [0, 0]


async def test_a_text_that_comes_to_two_servers_again_and_again_is_spoken_once(tmp_path: Path) -> None:
    record = tmp_path / "record"
    async with site(tmp_path, backends__scripted__record=record, backends__scripted__seconds_per_char=0.005) as place:
        servers = await asyncio.gather(place.start(), place.start())
        texts = [f"Text number {n} is asked for sixteen times." for n in range(60)]
        for text in texts:
            asked = []
            for n in range(16):
                asked.append(asyncio.create_task(servers[n % 2].caller.say(text)))
                await asyncio.sleep(0.004)
            assert len({job["output"]["audio_base64"] for job in await asyncio.gather(*asked)}) == 1
        assert Counter(text for text, _ in spoken(record)) == dict.fromkeys(texts, 1)
        assert [await server.stop() for server in servers] == [0, 0]
        assert rows(place.data_dir, "SELECT SUM(jobs), SUM(cache_hits) FROM usage") == [(16 * 60, 15 * 60)]


async def test_a_job_is_cancelled_and_retried_at_either_server(tmp_path: Path) -> None:
    async with site(tmp_path, **SHORT) as place:
        one, other = await asyncio.gather(place.start(), place.start())
        ids = [await one.caller.run(f"Long job {n}.", options={"delay_s": 30}) for n in range(6)]
        await asyncio.gather(*(one.caller.until(job_id, "IN_PROGRESS") for job_id in ids))
        for job_id in ids:
            assert (await other.caller.post(f"cancel/{job_id}")).json()["status"] == "CANCELLED"
            assert (await one.caller.status(job_id))["status"] == "CANCELLED"
        # Every place is free again, at both servers.
        for job in await asyncio.gather(*(one.caller.say(f"Afterwards {n}.") for n in range(8))):
            sound_of(job)
        failed = await one.caller.until(await one.caller.run("It fails.", options={"fail": True}))
        assert failed["status"] == "FAILED"
        await other.caller.post(f"retry/{failed['id']}")
        assert (await one.caller.until(failed["id"]))["status"] == "FAILED"
        assert [await one.stop(), await other.stop()] == [0, 0]


async def test_a_limit_lets_as_much_through_two_servers_as_it_says(tmp_path: Path) -> None:
    async with site(tmp_path, **SHORT) as place:
        servers = await asyncio.gather(place.start(), place.start())
        for server in servers:
            await server.caller.say("Ten chars.")  # from now on it is answered from memory
        limited = ("--scope", "speak", "--characters-per-day", "100")
        made = place.command("keys", "create", "--tenant", "default", *limited, "--show", "--json")
        key = json.loads(made.stdout)["key"]
        assert await within(3.0, servers[0], key, 200) and await within(3.0, servers[1], key, 200)
        headers = {"Authorization": f"Bearer {key}"}
        body = {"input": {"text": "Ten chars."}}
        answers = await asyncio.gather(
            *(servers[n % 2].caller.post("runsync", body, headers=headers) for n in range(40))
        )
        assert Counter(answer.status_code for answer in answers) == {200: 10, 429: 30}
        assert [await server.stop() for server in servers] == [0, 0]


async def test_a_key_revoked_at_one_server_is_refused_at_all_within_about_a_second(tmp_path: Path) -> None:
    async with site(tmp_path, **SHORT) as place:
        one, other = await asyncio.gather(place.start(), place.start())
        made = place.command("keys", "create", "--tenant", "default", "--scope", "speak", "--show", "--json")
        assert made.returncode == 0, made.stderr
        key = json.loads(made.stdout)["key"]
        public_id = key.split("_")[2]
        assert await within(3.0, one, key, 200) and await within(3.0, other, key, 200)
        gone = place.command("keys", "revoke", public_id)
        assert gone.returncode == 0, gone.stderr
        for server in (one, other):
            assert await within(3.0, server, key, 401), "a revoked key still works"
        assert [await one.stop(), await other.stop()] == [0, 0]


async def within(seconds: float, server: Served, key: str, status: int) -> bool:
    """Return whether the key gets this status within `seconds`, a documented limit and so measured by the clock."""
    end = time.monotonic() + seconds
    async with httpx.AsyncClient(base_url=server.url, headers={"Authorization": f"Bearer {key}"}) as http:
        while time.monotonic() < end:
            if (await http.get("/v2/tests/health")).status_code == status:
                return True
            await asyncio.sleep(0.05)
    return False
