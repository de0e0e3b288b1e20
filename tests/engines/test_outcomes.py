"""A host tells each outcome of a chunk to its subscribers, once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.hosting import hosting, order, outcome, until

from gateway.engines.host import Host
from gateway.engines.outcomes import Outcome, count_failures
from gateway.engines.scale import Scale
from gateway.metrics import Metrics

SCALE = Scale(0, 1, restart_s=0.01)
PLACES = pytest.mark.parametrize("place", ["inline", "process"])


def told_by(host: Host) -> list[Outcome]:
    told: list[Outcome] = []
    host.on_outcome.subscribe(told.append)
    return told


@PLACES
@pytest.mark.parametrize(
    ("options", "kind", "retryable", "asks_s"),
    [
        ({}, "spoken", False, None),
        ({"fail": True, "kind": "invalid_input"}, "invalid_input", False, None),
        ({"fail": True, "retryable": True}, "failed", True, None),
        ({"pcm": "busy"}, "failed", True, 7.5),
        ({"fail": True, "kind": "unavailable"}, "unavailable", False, None),
        ({"pcm": "silence"}, "failed", False, None),
        ({"raises": True}, "poisoned", False, None),
    ],
)
async def test_the_outcome_names_the_job_and_the_kind(
    place: Any, options: dict[str, Any], kind: str, retryable: bool, asks_s: float | None
) -> None:
    async with hosting(SCALE, host=place, busy_s=7.5) as host:
        told = told_by(host)
        await outcome(host.submit(order(tenant="ben", job="j-1", **options)))
        (seen,) = told
    assert (seen.backend, seen.tenant, seen.job_id, seen.kind) == ("scripted", "ben", "j-1", kind)
    assert (seen.retryable, seen.retry_after_s, seen.dispatched) == (retryable, asks_s, True)
    assert (seen.engine_s is not None) == (kind == "spoken")


async def test_chunks_that_no_engine_had_are_told_too() -> None:
    async with hosting(SCALE, host="inline", concurrency=1) as host:
        told = told_by(host)
        speaking = host.submit(order(chunk_delay_s=30))
        await until(lambda: speaking.dispatched_at is not None)
        waiting = [host.submit(order(job=name)) for name in ("left", "stopped")]
        waiting[0].cancel()
        await until(lambda: told)
        await host.stop(0)
        await asyncio.gather(*(outcome(ticket) for ticket in waiting))
        await outcome(host.submit(order(job="late")))
    seen = {each.job_id: (each.kind, each.dispatched) for each in told}
    never = {"left": ("cancelled", False), "stopped": ("stopped", False), "late": ("stopped", False)}
    assert seen == never | {"job": ("stopped", True)}


async def test_chunks_of_a_backend_that_cannot_load_are_unavailable() -> None:
    async with hosting(SCALE, host="inline", load_fails="unavailable") as host:
        told = told_by(host)
        await outcome(host.submit(order()))
        assert [(seen.kind, seen.dispatched) for seen in told] == [("unavailable", False)]


async def test_a_cancel_is_no_failure_and_is_told_once() -> None:
    async with hosting(SCALE, host="inline") as host:
        told, metrics = told_by(host), Metrics()
        host.on_outcome.subscribe(count_failures(metrics))
        ticket = host.submit(order(chunk_delay_s=30))
        await until(lambda: ticket.dispatched_at is not None)
        ticket.cancel()
        await outcome(host.submit(order(fail=True)))
        assert [(seen.kind, seen.dispatched) for seen in told] == [("cancelled", True), ("failed", True)]
        found = {
            sample.labels["kind"]: sample.value
            for family in metrics.registry.collect()
            for sample in family.samples
            if sample.name == "voxgate_take_failures_total"
        }
        assert found == {"failed": 1}


async def test_a_subscriber_that_raises_harms_neither_the_chunk_nor_the_others() -> None:
    def broken(_: Outcome) -> None:
        raise RuntimeError("a broken subscriber")

    async with hosting(SCALE, host="inline") as host:
        host.on_outcome.subscribe(broken)
        told = told_by(host)
        take = await outcome(host.submit(order()))
        assert take.samples
        await asyncio.sleep(0)
        assert len(told) == 1
