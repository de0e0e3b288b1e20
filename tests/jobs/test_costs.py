"""A job pays once for each take that an engine spoke for it, and for no take of another job."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from support.after import rows
from support.running import Caller, running
from support.served import site

ONE = "The first paragraph says something of its own."
TWO = "The second paragraph is not the first one."
THREE = "The third paragraph comes last."
SPEED = {"seconds_per_char": 0.01}


def priced(**settings: Any) -> dict[str, dict[str, Any]]:
    """A backend at one dollar a character, so that a cost is a number of characters."""
    return {"scripted": {"usd": 1e6, **SPEED, **settings}}


def chars(*texts: str) -> int:
    return sum(map(len, texts))


def text(*paragraphs: str) -> str:
    return "\n\n".join(paragraphs)


async def cost(caller: Caller, *paragraphs: str, **fields: Any) -> float:
    job = await caller.say(text(*paragraphs), **fields)
    assert job["status"] == "COMPLETED", job
    return float(job["output"]["cost_usd"])


def used(folder: Path) -> float:
    ((micro_usd,),) = rows(folder, "SELECT SUM(cost_micro_usd) FROM usage")
    return float(micro_usd) / 1e6


async def test_only_the_chunks_that_an_engine_spoke_for_the_job_are_paid(tmp_path: Path) -> None:
    async with running(tmp_path, backends=priced()) as caller:
        assert await cost(caller, ONE) == pytest.approx(chars(ONE))
        assert await cost(caller, ONE, TWO) == pytest.approx(chars(TWO))
        assert await cost(caller, ONE, TWO) == 0, "finished audio"
        assert await cost(caller, ONE, TWO, format="wav") == 0, "its takes are there"
        assert await cost(caller, ONE, TWO, cache="refresh") == pytest.approx(chars(ONE, TWO))
        assert await cost(caller, ONE, THREE, loudness=-20) == pytest.approx(chars(THREE)), "read twice, spoken once"
    assert used(tmp_path) == pytest.approx(chars(ONE, TWO, ONE, TWO, THREE))


async def test_a_chunk_that_another_job_has_spoken_meanwhile_is_paid_once(tmp_path: Path) -> None:
    options = {"delay_s": 0.3}
    async with running(tmp_path, backends=priced(concurrency=4)) as caller:
        costs = await asyncio.gather(
            *(cost(caller, ONE, own, options=options) for own in (TWO, THREE)),
            cost(caller, ONE, TWO, options=options, format="wav"),
        )
        assert sum(costs) == pytest.approx(chars(ONE, TWO, THREE))
    assert used(tmp_path) == pytest.approx(chars(ONE, TWO, THREE))


async def test_seconds_are_paid_as_the_engine_spoke_them(tmp_path: Path) -> None:
    async with running(tmp_path, backends=priced(usd=1.0, usd_per="second")) as caller:
        first = await cost(caller, ONE, speed=2.0)
        assert first == pytest.approx(chars(ONE) * SPEED["seconds_per_char"], rel=1e-3), "not at twice the speed"
        second = await cost(caller, ONE, TWO)
        assert second == pytest.approx(chars(TWO) * SPEED["seconds_per_char"], rel=1e-3), "and no pauses"


async def test_a_chunk_in_pieces_costs_its_pieces(tmp_path: Path) -> None:
    async with running(tmp_path, backends=priced()) as caller:
        refused = {"fail": True, "kind": "too_long", "only": TWO[2:-2]}
        pieces = await cost(caller, ONE, TWO, options=refused)
        assert chars(ONE, TWO) - 5 <= pieces <= chars(ONE, TWO), "without the spaces between the pieces"
        assert await cost(caller, ONE, TWO, options=refused, format="wav") == 0


@pytest.mark.parametrize("end", ["kill", "retry"])
@pytest.mark.slow
async def test_what_an_earlier_attempt_has_left_is_paid_once_by_the_one_that_ends_the_job(
    tmp_path: Path, end: str
) -> None:
    paragraphs = [f"Paragraph number {n} says something of its own, and then it ends." for n in range(12)]
    curse = tmp_path / "curse"
    curse.write_text("number 9 " if end == "retry" else "")
    named = {f"backends__scripted__{name}": value for name, value in priced(curse=str(curse))["scripted"].items()}
    async with site(tmp_path, jobs__lease_s=2, jobs__beat_s=0.3, jobs__chunk_window=1, **named) as place:
        served = await place.start()
        job_id = await served.caller.run(text(*paragraphs), options={"chunk_delay_s": 0.2})
        if end == "kill":
            while len(rows(place.data_dir, "SELECT key FROM takes")) < 4:
                await asyncio.sleep(0.05)
            await served.kill()
            served = await place.start()
        else:
            assert (await served.caller.until(job_id))["status"] == "FAILED"
            curse.write_text("")
            await served.caller.post(f"retry/{job_id}")
        job = await served.caller.until(job_id)
        assert job["output"]["cost_usd"] == pytest.approx(chars(*paragraphs))
        assert used(place.data_dir) == pytest.approx(chars(*paragraphs))
        assert await served.stop() == 0
