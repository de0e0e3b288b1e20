"""Chunks that wait at a host are moved to the lane of whoever waits for them, too."""

from __future__ import annotations

from pathlib import Path

from support.hosting import hosting, order, outcome, until

from gateway.engines.scale import Scale
from storage.records import Lane


async def test_a_waiting_chunk_that_is_lifted_is_spoken_before_those_of_its_old_lane(tmp_path: Path) -> None:
    record = tmp_path / "record"
    async with hosting(record=str(record)) as host:
        first = host.submit(order("The first keeps the engine.", chunk_delay_s=0.5))
        await until(lambda: first.dispatched_at is not None)
        low = [host.submit(order(f"Low {n}.", job=f"low{n}", lane=Lane.LOW)) for n in range(3)]
        long = host.submit(order("Long.", job="long"))
        low[2].lift(Lane.SHORT)
        low[1].lift(Lane.LONG)
        first.lift(Lane.SHORT)  # it is with the engine, and stays there
        for ticket in (first, long, *low):
            assert not isinstance(await outcome(ticket), BaseException)
        spoken = [line.split('"')[1] for line in record.read_text().splitlines()]
        assert spoken == ["The first keeps the engine.", "Low 2.", "Long.", "Low 1.", "Low 0."]


async def test_a_lift_never_lowers_and_a_lifted_chunk_can_be_withdrawn() -> None:
    async with hosting() as host:
        first = host.submit(order("The first keeps the engine.", chunk_delay_s=0.3))
        await until(lambda: first.dispatched_at is not None)
        ticket = host.submit(order("Wanted.", job="other", lane=Lane.SHORT))
        ticket.lift(Lane.LOW)
        assert ticket.lane is Lane.SHORT
        low = host.submit(order("Unwanted.", job="low", lane=Lane.LOW))
        low.lift(Lane.LONG)
        low.cancel()
        await until(lambda: host.state().waiting == 1)
        assert not isinstance(await outcome(ticket), BaseException)


async def test_a_low_chunk_that_is_lifted_may_start_another_worker() -> None:
    async with hosting(Scale(0, 2, idle_timeout_s=60)) as host:
        first = host.submit(order("The first keeps the engine.", chunk_delay_s=1.5))
        await until(lambda: first.dispatched_at is not None)
        low = host.submit(order("Low.", job="low", lane=Lane.LOW))
        low.lift(Lane.LONG)
        assert not isinstance(await outcome(low), BaseException)
        assert not first.future.done(), "another worker spoke it"
        await outcome(first)
