from __future__ import annotations

import asyncio

import pytest

from gateway.cache.flights import Flights
from gateway.engines.order import Rank
from storage.records import Lane


async def test_fifty_callers_of_one_key_share_one_piece_of_work() -> None:
    flights: Flights[int] = Flights()
    runs = 0

    async def work(_: Rank) -> int:
        nonlocal runs
        runs += 1
        await asyncio.sleep(0.01)
        return runs

    results = await asyncio.gather(*(flights.join("k", work, Rank(Lane.LONG)) for _ in range(50)))
    assert [value for value, _ in results] == [1] * 50
    assert sum(led for _, led in results) == 1
    assert len(flights) == 0


async def test_a_leader_that_goes_away_does_not_take_the_others_with_it() -> None:
    flights: Flights[str] = Flights()
    release = asyncio.Event()

    async def work(_: Rank) -> str:
        await release.wait()
        return "spoken"

    leader = asyncio.create_task(flights.join("k", work, Rank(Lane.LONG)))
    await asyncio.sleep(0)
    follower = asyncio.create_task(flights.join("k", work, Rank(Lane.LONG)))
    await asyncio.sleep(0)
    leader.cancel()
    release.set()
    assert await follower == ("spoken", False)
    with pytest.raises(asyncio.CancelledError):
        await leader


async def test_work_nobody_waits_for_any_more_is_cancelled_and_a_newcomer_starts_afresh() -> None:
    flights: Flights[str] = Flights()
    ended: list[str] = []

    async def forever(_: Rank) -> str:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cancelled")
        return ""

    async def quick(_: Rank) -> str:
        return "new"

    only = asyncio.create_task(flights.join("k", forever, Rank(Lane.LONG)))
    await asyncio.sleep(0.01)
    only.cancel()
    with pytest.raises(asyncio.CancelledError):
        await only
    assert await flights.join("k", quick, Rank(Lane.LONG)) == ("new", True)
    assert ended == ["cancelled"]


async def test_an_error_reaches_everyone_aboard() -> None:
    flights: Flights[str] = Flights()

    async def fail(_: Rank) -> str:
        await asyncio.sleep(0)
        raise ValueError("no")

    callers = (flights.join("k", fail, Rank(Lane.LONG)) for _ in range(3))
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert [str(result) for result in results] == ["no"] * 3


async def test_a_flight_is_in_the_earliest_lane_of_all_who_wait_for_it() -> None:
    flights: Flights[None] = Flights()
    release = asyncio.Event()
    lanes: list[Lane] = []

    async def work(rank: Rank) -> None:
        with rank.lifting(lanes.append):
            await release.wait()

    leader, follower = Rank(Lane.LOW), Rank(Lane.LONG)
    tasks = [asyncio.create_task(flights.join("k", work, leader))]
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(flights.join("k", work, follower)))
    await asyncio.sleep(0.01)
    follower.lift(Lane.SHORT)
    release.set()
    await asyncio.gather(*tasks)
    assert lanes == [Lane.LOW, Lane.LONG, Lane.SHORT]
    assert leader.lane is Lane.LOW
