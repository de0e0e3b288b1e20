"""The two scaling profiles of the API guide, from the files that ship, with their idle time a hundred times shorter."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from support.hosting import context, hosting, order, outcome, until

from backends.hibari import HibariBackend
from gateway.clock import SystemClock
from gateway.engines.configure import configure
from gateway.engines.scale import Scale, scale_of
from gateway.settings import load_settings
from storage.records import Lane

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def shipped(profile: str) -> Scale:
    """Return the scale a gateway reads from a profile in `deploy/`."""
    settings = load_settings(env={}, toml_path=DEPLOY / f"{profile}.toml")
    own, host = configure(HibariBackend, settings.backends["hibari"])
    return scale_of("hibari", host, HibariBackend(own, context()).capabilities())


def hurried(scale: Scale) -> Scale:
    return msgspec.structs.replace(scale, idle_timeout_s=scale.idle_timeout_s / 100)


BUSY, OCCASIONAL = hurried(shipped("high-volume")), hurried(shipped("low-volume"))


@pytest.mark.parametrize(("profile", "figures"), [("high-volume", (1, 10, 120)), ("low-volume", (0, 3, 30))])
def test_the_files_that_ship_are_the_guides_profiles(profile: str, figures: tuple[int, int, int]):
    scale = shipped(profile)
    assert (scale.min_workers, scale.max_workers, scale.idle_timeout_s) == figures


def workers(host) -> int:
    state = host.state()
    return state.initializing + state.idle + state.running


async def test_a_busy_profile_keeps_one_worker_grows_to_ten_and_shrinks_back():
    async with hosting(BUSY, start=True) as host:
        await until(lambda: host.state().idle == 1)
        tickets = [host.submit(order(f"Number {n}.", job=f"job{n}", chunk_delay_s=1.0)) for n in range(30)]
        most = 0
        while not all(ticket.future.done() for ticket in tickets):
            most = max(most, workers(host))
            await asyncio.sleep(0.01)
        assert most == 10
        await until(lambda: workers(host) == 1)
        await asyncio.sleep(0.3)
        assert workers(host) == 1


async def test_an_occasional_profile_starts_on_demand_stays_within_three_and_goes_back_to_none():
    async with hosting(OCCASIONAL, start=True) as host:
        await asyncio.sleep(0.1)
        assert workers(host) == 0
        tickets = [host.submit(order(f"Number {n}.", job=f"job{n}", chunk_delay_s=0.5)) for n in range(6)]
        most = 0
        while not all(ticket.future.done() for ticket in tickets):
            most = max(most, workers(host))
            await asyncio.sleep(0.01)
        assert most == 3
        await until(lambda: not host.state().pids)
        assert (await outcome(host.submit(order("Again.")))).samples


async def test_an_idle_worker_gives_its_memory_back_to_the_machine():
    async with hosting(OCCASIONAL, ballast_mb=200) as host:
        assert (await outcome(host.submit(order()))).samples
        pid = host.state().pids[0]
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        assert pages * 4096 > 200 * 2**20
        await until(lambda: not Path(f"/proc/{pid}").exists())


class SlowClock(SystemClock):
    """A burst is short by this one, however busy the machine is."""

    def monotonic(self) -> float:
        return super().monotonic() / 50


async def test_a_short_burst_starts_no_second_worker():
    async with hosting(Scale(1, 4), start=True, clock=SlowClock()) as host:
        await until(lambda: host.state().idle == 1)
        tickets = [host.submit(order(f"Number {n}.", index=n)) for n in range(3)]
        await asyncio.gather(*(ticket.future for ticket in tickets))
        assert workers(host) == 1


async def test_low_priority_starts_the_first_worker_and_no_other_until_somebody_else_waits():
    async with hosting(Scale(0, 4, idle_timeout_s=60)) as host:
        low = [host.submit(order(f"Number {n}.", job=f"job{n}", chunk_delay_s=0.4, lane=Lane.LOW)) for n in range(6)]
        most = 0
        while not low[2].future.done():
            most = max(most, workers(host))
            await asyncio.sleep(0.01)
        assert most == 1
        normal = [host.submit(order(f"Normal {n}.", job=f"normal{n}", chunk_delay_s=3.0)) for n in range(2)]
        await until(lambda: workers(host) > 1)
        for ticket in low + normal:
            assert (await outcome(ticket)).samples


async def test_waking_a_sleeping_backend_loads_one_worker():
    async with hosting(OCCASIONAL) as host:
        host.wake()
        host.wake()
        assert host.state().initializing == 1
        await until(lambda: host.ready)


async def test_a_missing_worker_is_replaced_without_demand_as_long_as_one_is_wanted():
    import os
    import signal

    async with hosting(Scale(1, 1, restart_s=0.01), start=True) as host:
        await until(lambda: host.ready)
        (pid,) = host.state().pids
        os.kill(pid, signal.SIGKILL)
        await until(lambda: host.ready and host.state().pids != (pid,))


async def test_listeners_hear_when_a_worker_is_ready():
    async with hosting(OCCASIONAL) as host:
        heard = asyncio.Event()
        host.changed.append(lambda: heard.set() if host.ready else None)
        host.wake()
        async with asyncio.timeout(60):
            await heard.wait()


async def test_a_worker_that_loads_longer_than_it_may_idle_is_there_for_whom_it_was_loaded():
    async with hosting(Scale(0, 1, idle_timeout_s=0.2), load_s=0.6) as host:
        spoken = []
        host.changed.append(lambda: spoken.append(host.submit(order())) if host.ready and not spoken else None)
        host.wake()  # as jobs do that wait until it is ready
        await until(lambda: spoken)
        take = await outcome(spoken[0])
        assert take.samples > 0
        await until(lambda: workers(host) == 0)
