"""Wall time that never jumps: what the clock says, and what a server does, when the machine's is set."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import databases
from support.after import sound_of
from support.running import Caller, running

from gateway.clock import SystemClock
from gateway.settings import JobSettings
from storage.db.clock_file import ClockFile

HOUR_S = 3_600
START_MS = 1_767_268_800_000


class Sources:
    """A machine's clocks, which a test turns and sets."""

    def __init__(self) -> None:
        self.elapsed_s = 1_000.0
        self.set_ms = 0

    def wall_ms(self) -> int:
        return START_MS + self.set_ms + round(1_000 * (self.elapsed_s - 1_000))

    def elapsed(self) -> float:
        return self.elapsed_s

    def clock(self) -> SystemClock:
        return SystemClock(self.wall_ms, self.elapsed)


def test_it_begins_with_the_machines_time_and_keeps_it_while_nobody_sets_that() -> None:
    machine = Sources()
    clock = machine.clock()
    for seconds in (0, 0.001, 0.5, 3, 7 * 24 * HOUR_S):
        machine.elapsed_s += seconds
        assert abs(clock.now_ms() - machine.wall_ms()) <= 1


@pytest.mark.parametrize("jump_s", [26 * HOUR_S, -26 * HOUR_S, 90, -90])
def test_a_jump_is_made_up_for_by_a_tenth_of_the_time_that_goes_by_and_then_over(jump_s: int) -> None:
    machine = Sources()
    clock = machine.clock()
    machine.elapsed_s += 10
    before = clock.now_ms()
    machine.set_ms = 1_000 * jump_s
    machine.elapsed_s += 2
    assert abs(clock.now_ms() - before - 2_000) <= 1  # it has not jumped
    for _ in range(100):
        machine.elapsed_s += 2
        clock.now_ms()
    gained_ms = clock.now_ms() - before - 202_000
    assert abs(gained_ms) == pytest.approx(min(20_000, 1_000 * abs(jump_s)), abs=10)
    assert (gained_ms > 0) == (jump_s > 0)
    for _ in range(11 * abs(jump_s) // 60):
        machine.elapsed_s += 60
        clock.now_ms()
    assert abs(clock.now_ms() - machine.wall_ms()) <= 1


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(-(10**10), 10**10)), max_size=40))
def test_it_never_goes_back_and_never_faster_than_eleven_tenths(steps: list[tuple[float, int]]) -> None:
    machine = Sources()
    clock = machine.clock()
    seen = [clock.now_ms()]
    gone = [0.0]
    for seconds, jump_ms in steps:
        machine.elapsed_s += seconds
        machine.set_ms += jump_ms
        gone.append(seconds)
        seen.append(clock.now_ms())
    for (before, after), seconds in zip(itertools.pairwise(seen), gone[1:], strict=True):
        assert 900 * seconds - 2 <= after - before <= 1_100 * seconds + 2


def test_another_clock_is_taken_over_at_once_and_followed_slowly_after_that() -> None:
    machine = Sources()
    clock = machine.clock()
    clock.follow(START_MS + 5_000_000)
    assert clock.now_ms() == START_MS + 5_000_000
    machine.set_ms = -1_000_000_000  # the machine's own is not asked any more
    machine.elapsed_s += 100
    assert abs(clock.now_ms() - START_MS - 5_100_000) <= 1
    clock.follow(START_MS + 5_101_000)
    assert abs(clock.now_ms() - START_MS - 5_100_000) <= 1
    machine.elapsed_s += 5
    assert abs(clock.now_ms() - START_MS - 5_105_500) <= 1
    machine.elapsed_s += 100
    clock.now_ms()
    assert abs(clock.now_ms() - START_MS - 5_206_000) <= 1


class Turned:
    """The machine's wall time as somebody sets it, while real time goes by."""

    def __init__(self) -> None:
        self.machine = SystemClock()
        self.ahead_ms = 0
        self.clock = SystemClock(lambda: self.machine.now_ms() + self.ahead_ms)


JOBS = JobSettings(max_running=1, ttl_s=3_600.0)
JUMP_MS = 26 * HOUR_S * 1_000


async def waiting(caller: Caller) -> list[str]:
    """One job that runs, and four that wait for it."""
    ids = [await caller.run(f"Job {n} waits.", options={"delay_s": 3}) for n in range(5)]
    await caller.until(ids[0], "IN_PROGRESS")
    return ids


@pytest.mark.slow
@pytest.mark.parametrize("jumps", [(JUMP_MS,), (-JUMP_MS,), (-JUMP_MS, JUMP_MS, 0)], ids=["forward", "back", "both"])
async def test_jobs_that_wait_through_a_jump_do_not_run_out_of_their_ttl(
    tmp_path: Path, jumps: tuple[int, ...]
) -> None:
    turned = Turned()
    backends = {"scripted": {"seconds_per_char": 0.005}}
    async with running(tmp_path, turned.clock, jobs=JOBS, backends=backends) as caller:
        address = (await caller.say("Known."))["output"]["audio_url"]
        ids = await waiting(caller)
        for jump in jumps:
            turned.ahead_ms = jump
            await asyncio.sleep(1.5)  # the look for what is over comes every second
        assert (await caller.http.get(address)).status_code == 200
        for job_id in ids:
            job = await caller.until(job_id)
            sound_of(job)
            assert 0 <= job["delayTime"] < 60_000


@pytest.mark.slow
async def test_servers_on_postgresql_whose_machines_differ_by_days_agree_on_what_is_over(tmp_path: Path) -> None:
    backends = {"scripted": {"seconds_per_char": 0.005}}
    ahead, behind = Turned(), Turned()
    ahead.ahead_ms, behind.ahead_ms = JUMP_MS, -JUMP_MS
    clocks = [SystemClock(lambda each=each: each.machine.now_ms() + each.ahead_ms) for each in (ahead, behind)]
    with databases.on("postgresql"):
        async with (
            running(tmp_path, clocks[0], jobs=JOBS, backends=backends) as one,
            running(tmp_path, clocks[1], jobs=JOBS, backends=backends) as two,
        ):
            ids = [*await waiting(one), *[await two.run(f"Another {n}.", options={"delay_s": 1}) for n in range(3)]]
            for job_id in ids:
                job = await one.until(job_id)
                sound_of(job)
                assert 0 <= job["delayTime"] < 60_000
                signed = urlsplit(job["output"]["audio_url"])  # by one, and checked by the other
                assert (await two.http.get(f"{signed.path}?{signed.query}")).status_code == 200


@pytest.mark.slow
async def test_servers_on_one_machine_agree_though_its_clock_was_set_between_their_starts(tmp_path: Path) -> None:
    backends = {"scripted": {"seconds_per_char": 0.005}}
    before, after = Turned(), Turned()
    after.ahead_ms = JUMP_MS
    late = SystemClock(lambda: after.machine.now_ms() + after.ahead_ms)
    async with running(tmp_path, before.clock, jobs=JOBS, backends=backends) as one:
        ids = await waiting(one)
        async with running(tmp_path, late, jobs=JOBS, backends=backends) as two:
            await asyncio.sleep(1.5)
            for job_id in ids:
                job = await two.until(job_id)
                sound_of(job)
                assert 0 <= job["delayTime"] < 60_000


@pytest.mark.parametrize(
    ("boot_id", "jump_s", "goes_on"),
    [("this", 26 * HOUR_S, True), ("this", -26 * HOUR_S, True), ("another", 26 * HOUR_S, False), ("", 5, False),
     ("this", 50 * 365 * 24 * HOUR_S, False)],
)  # fmt: skip
def test_a_start_goes_on_from_the_time_of_the_servers_before_within_one_run_of_the_machine(
    tmp_path: Path, boot_id: str, jump_s: int, goes_on: bool
) -> None:
    machine = Sources()
    ClockFile(tmp_path, machine.clock(), "this").save()
    machine.elapsed_s += 100
    machine.set_ms = 1_000 * jump_s
    clock = machine.clock()
    ClockFile(tmp_path, clock, boot_id).restore()
    assert abs(clock.now_ms() - (START_MS + 100_000 if goes_on else machine.wall_ms())) <= 1


def test_a_record_of_time_that_cannot_be_read_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "clock.json").write_text("{half")
    machine = Sources()
    clock = machine.clock()
    ClockFile(tmp_path, clock, "this").restore()
    assert clock.now_ms() == START_MS
