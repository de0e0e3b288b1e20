"""A server that is killed again and again leaves no more behind than one that was killed once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.after import sound_of
from support.served import Served, Site, site

pytestmark = pytest.mark.slow

# Nine seconds of speech a chunk, and a job that is never finished.
SETTINGS = {
    "jobs__lease_s": 1.5, "jobs__beat_s": 0.3, "jobs__max_attempts": 100,
    "backends__scripted__target_chars": 60, "backends__scripted__seconds_per_char": 0.2,
}  # fmt: skip


def spools(place: Site) -> list[Path]:
    return list((place.data_dir / "audio" / "tmp").iterdir())


async def writing(place: Site, served: Served, job_id: str) -> None:
    """Until it has spools of its own."""
    before = set(spools(place))
    while not set(spools(place)) - before:
        assert (await served.caller.status(job_id))["status"] in ("IN_QUEUE", "IN_PROGRESS")
        await asyncio.sleep(0.02)


async def test_spools_of_servers_that_were_killed_do_not_add_up(tmp_path: Path) -> None:
    async with site(tmp_path, **SETTINGS) as place:
        text = " ".join(f"Sentence {n} of a text that goes on for quite a while." for n in range(200))
        served = await place.start()
        job_id = await served.caller.run(text, format="wav", options={"chunk_delay_s": 0.3})
        for _ in range(5):
            await writing(place, served, job_id)
            await served.kill()
            left = set(spools(place))
            served = await place.start()
            async with asyncio.timeout(30):  # long before a sweep, which is every ten minutes
                while left & set(spools(place)):
                    await asyncio.sleep(0.05)
        sound_of(await served.caller.say("It still speaks."))
        assert await served.stop() == 0
