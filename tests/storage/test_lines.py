"""Lines of the queue: each tenant's jobs for one backend in one lane, read from their heads."""

from __future__ import annotations

from support.storage import START_MS, HandClock, a_job

from gateway.jobs.run.heads import REWIND_S, HeadLook
from storage.jobs.leases import PAGE, SCAN
from storage.jobs.queue import JobStore
from storage.records import Lane, Line


async def insert(jobs: JobStore, prefix: str, many: int, at: int = 0, **fields: object) -> None:
    for n in range(many):
        await jobs.insert(a_job(f"{prefix}-{n:04}", created_ms=START_MS + at + n, **fields))


async def test_the_head_of_every_line_is_read_whatever_stands_in_others(jobs: JobStore) -> None:
    await insert(jobs, "flood", 3 * SCAN, lane=Lane.LONG)
    await insert(jobs, "closed", 3 * SCAN, backend="google")
    await jobs.insert(a_job("own sentence", lane=Lane.SHORT, created_ms=START_MS + 9_000))
    await jobs.insert(a_job("own low", lane=Lane.LOW, low_priority=True, created_ms=START_MS))
    await jobs.insert(a_job("another's", tenant="b", lane=Lane.LONG, created_ms=START_MS + 9_001))
    heads = await jobs.leases.candidates(["hibari"], per_line=2)
    assert [c.id for c in heads.candidates] == ["own sentence", "flood-0000", "flood-0001", "another's", "own low"]
    assert [c.lane for c in heads.candidates] == [Lane.SHORT, Lane.LONG, Lane.LONG, Lane.LONG, Lane.LOW]
    assert heads.cut == {}


async def test_each_backends_line_is_read(jobs: JobStore) -> None:
    await insert(jobs, "hibari", 3)
    await insert(jobs, "google", 3, at=10, backend="google")
    heads = await jobs.leases.candidates(["google", "hibari", "nobody's"], per_line=1)
    assert [(c.id, c.backend) for c in heads.candidates] == [("hibari-0000", "hibari"), ("google-0000", "google")]


async def test_a_tenants_own_first_of_a_flight_may_lead_it_and_whoever_is_claimed_first_does(jobs: JobStore) -> None:
    for n, tenant in enumerate("abab"):
        await jobs.insert(a_job(f"job-{n}", tenant=tenant, flight_key="same", created_ms=START_MS + n))
    heads = await jobs.leases.candidates(["hibari"])
    assert [c.id for c in heads.candidates] == ["job-0", "job-1"]
    assert [job.id for job in await jobs.leases.claim(["job-1", "job-0"], "w")] == ["job-1"]
    assert (await jobs.leases.candidates(["hibari"])).candidates == []


async def test_of_a_flight_a_normal_job_comes_before_its_tenants_low_ones(jobs: JobStore) -> None:
    await jobs.insert(a_job("low", flight_key="same", low_priority=True, lane=Lane.LOW))
    await jobs.insert(a_job("normal", flight_key="same", lane=Lane.SHORT, created_ms=START_MS + 5))
    assert [c.id for c in (await jobs.leases.candidates(["hibari"])).candidates] == ["normal"]


async def test_a_running_flight_is_lifted_by_a_follower_that_is_not_of_low_priority(jobs: JobStore) -> None:
    await jobs.insert(a_job("leader", flight_key="f", low_priority=True, lane=Lane.LOW))
    await jobs.leases.claim(["leader"], "w")
    assert await jobs.leases.lifted(["f", "g"]) == set()
    await jobs.insert(a_job("low", flight_key="f", low_priority=True, lane=Lane.LOW))
    assert await jobs.leases.lifted(["f", "g"]) == set()
    await jobs.insert(a_job("normal", flight_key="f", lane=Lane.SHORT))
    assert await jobs.leases.lifted(["f", "g"]) == {"f"}
    await jobs.ends.cancel("normal")
    assert await jobs.leases.lifted(["f", "g"]) == set()
    assert await jobs.leases.lifted([]) == set()


async def test_a_backend_is_wanted_when_somebody_waits_for_it(jobs: JobStore) -> None:
    await jobs.insert(a_job("now", backend="asked"))
    await jobs.insert(a_job("later", backend="paused", available_ms=START_MS + 5))
    await insert(jobs, "many", SCAN + 1, backend="crowded", available_ms=START_MS + 5)
    assert await jobs.leases.wanted(["asked", "paused", "crowded", "nobody's"]) == ["asked", "crowded"]
    assert await jobs.leases.wanted([]) == []


async def test_what_stands_behind_thousands_of_followers_is_found_page_by_page(
    jobs: JobStore, clock: HandClock
) -> None:
    await jobs.insert(a_job("leader", flight_key="f", created_ms=START_MS - 1))
    await jobs.leases.claim(["leader"], "w")
    await insert(jobs, "follower", 2 * PAGE + SCAN, flight_key="f")
    await insert(jobs, "behind", 3, at=10_000)
    heads = HeadLook(jobs.leases, clock)
    looks = 0
    while not (found := await heads.read(["hibari"], per_line=2)):
        assert heads.unfinished
        looks += 1
        assert looks < 10
    assert [c.id for c in found] == ["behind-0000", "behind-0001"]
    # What was found is offered until it is claimed, and then the next.
    assert [c.id for c in await heads.read(["hibari"], per_line=2)] == ["behind-0000", "behind-0001"]
    await jobs.leases.claim(["behind-0000"], "w")
    assert [c.id for c in await heads.read(["hibari"], per_line=2)] == ["behind-0001", "behind-0002"]
    await jobs.leases.claim(["behind-0001", "behind-0002"], "w")
    await heads.read(["hibari"], per_line=2)
    assert not heads.unfinished, "the line has an end"


async def test_a_follower_that_was_passed_over_is_found_when_its_leader_has_gone(
    jobs: JobStore, clock: HandClock
) -> None:
    for flight in "fg":
        await jobs.insert(a_job(f"leader-{flight}", flight_key=flight, created_ms=START_MS - 1))
    await jobs.leases.claim(["leader-f", "leader-g"], "w")
    await insert(jobs, "follower", PAGE, flight_key="f")
    await jobs.insert(a_job("heir", flight_key="g", created_ms=START_MS + PAGE // 2))
    await insert(jobs, "behind", 50, at=10_000)
    heads = HeadLook(jobs.leases, clock)
    while not await heads.read(["hibari"], per_line=1):
        pass
    await jobs.ends.cancel("leader-g")
    clock.turn(REWIND_S + 1)
    found: set[str] = set()
    for _ in range(10):
        found |= {c.id for c in await heads.read(["hibari"], per_line=1)}
    assert "heir" in found


async def rounds(heads: HeadLook) -> list[list[str]]:
    """Return the job ids each look finds after one event, until no look asks for another."""
    heads.begin()
    found = [[c.id for c in await heads.read(["hibari"], per_line=1)]]
    while heads.unfinished:
        found.append([c.id for c in await heads.read(["hibari"], per_line=1)])
        assert len(found) < 50, "it goes round for ever"
    return found


async def test_a_look_reads_so_many_lines_however_many_tenants_wait_and_all_have_their_turn(
    jobs: JobStore, clock: HandClock
) -> None:
    waiting = {f"book-{n:02}" for n in range(30)}
    for name in waiting:
        await jobs.insert(a_job(name, tenant=name, lane=Lane.LONG))
    await jobs.insert(a_job("sentence", tenant="zz", lane=Lane.SHORT))
    heads = HeadLook(jobs.leases, clock, lines=8)
    seen: set[str] = set()
    for _ in range(4):
        [found] = await rounds(heads)
        assert "sentence" in found, "a lane hides no other one"
        assert len(found) <= 1 + 8
        assert heads.partial == {Lane.LONG}
        seen |= {*found}
    assert seen == waiting | {"sentence"}
    first, second = await rounds(heads), await rounds(heads)
    assert first != second, "behind the last comes the first"


async def test_a_look_goes_on_behind_lines_that_are_all_blocked_and_no_further_than_all_of_them(
    jobs: JobStore, clock: HandClock
) -> None:
    for n in range(20):
        await jobs.insert(a_job(f"paused-{n:02}", tenant=f"t{n:02}", available_ms=START_MS + 5))
    heads = HeadLook(jobs.leases, clock, lines=4)
    assert not any(await rounds(heads))
    assert not any(await rounds(heads)), "nor at the next event"
    await jobs.insert(a_job("claimable", tenant="t15b"))
    assert (await rounds(heads))[-1] == ["claimable"]


async def test_a_job_that_waits_for_memory_is_in_the_next_look_too(jobs: JobStore, clock: HandClock) -> None:
    for name in "abcdef":
        await jobs.insert(a_job(name, tenant=name, lane=Lane.LONG))
    heads = HeadLook(jobs.leases, clock, lines=2)
    assert await rounds(heads) == [["a", "b"]]
    for _ in range(3):
        assert await rounds(heads) == [["c", "d"]]
        heads.stay(Lane.LONG)
    assert await rounds(heads) == [["c", "d"]]
    assert await rounds(heads) == [["e", "f"]]


async def test_a_line_is_the_tenants_backends_and_lanes(jobs: JobStore) -> None:
    await insert(jobs, "blocked", 2 * SCAN, available_ms=START_MS + 5)
    heads = await jobs.leases.candidates(["hibari"], per_line=1)
    assert list(heads.cut) == [Line("hibari", "default", Lane.LONG)]
