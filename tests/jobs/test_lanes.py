"""Short jobs wait at most two chunks behind long ones, and other jobs leave them room at a server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.after import rows, sound_of, spoken
from support.gates import let
from support.running import Caller, running

from gateway.settings import JobSettings
from storage.records import Lane

MOST = 2
"""Chunks a sentence waits for."""
LOW = {"policy": {"lowPriority": True}}


def book(name: str, chunks: int = 30) -> str:
    return "\n\n".join(f"{name}, paragraph number {n} of a long text." for n in range(chunks))


class Stage:
    """Servers on one folder, each with an engine that speaks a chunk when the test says so."""

    def __init__(self, folder: Path, servers: list[Caller]) -> None:
        self.folder = folder
        self.servers = servers
        self.gate = 0

    def texts(self) -> list[str]:
        return [text for text, _ in spoken(self.folder / "record")]

    async def step(self) -> None:
        """Every engine speaks one chunk."""
        before = len(self.texts())
        let(self.folder, self.gate + 1)
        self.gate += 1
        async with asyncio.timeout(30):
            while len(self.texts()) < before + len(self.servers):
                await asyncio.sleep(0.005)

    async def until_it_waits(self, job_id: str) -> None:
        """Until a chunk of the job waits for an engine, with none spoken meanwhile."""
        async with asyncio.timeout(20):
            while not any(
                (run := server.gateway._claimer.running.get(job_id)) is not None and run.timing._tickets
                for server in self.servers
            ):
                await asyncio.sleep(0.005)

    async def waited(self, caller: Caller, text: str, **fields: Any) -> int:
        """Chunks of others that each engine speaks from the submission of a text to its end."""
        job_id = await caller.run(text, **fields)
        before = len(self.texts())
        await self.until_it_waits(job_id)
        own = text.split("\n\n")
        for _ in range(40):
            if all(part in self.texts()[before:] for part in own):
                break
            await self.step()
            await asyncio.sleep(0.02)
        sound_of(await caller.until(job_id))
        told = self.texts()[before:]
        others = [each for each in told[: told.index(own[-1]) + 1] if each not in own]
        return -(-len(others) // len(self.servers))


@contextlib.asynccontextmanager
async def stage(folder: Path, servers: int = 1, **jobs: Any) -> AsyncIterator[Stage]:
    folder.mkdir(parents=True, exist_ok=True)
    let(folder, 0)
    scripted = {
        "seconds_per_char": 0.005, "target_chars": 50, "record": str(folder / "record"), "gate": str(folder / "gate"),
        "min_workers": 1,
    }  # fmt: skip
    fields = {"backends": {"scripted": scripted}, "jobs": JobSettings(**jobs), "shutdown_grace_s": 0.1}
    async with contextlib.AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(running(folder, **fields)) for _ in range(servers)]
        yield Stage(folder, callers)
        let(folder, 1_000_000)


@contextlib.asynccontextmanager
async def tenant(caller: Caller, name: str) -> AsyncIterator[Caller]:
    """Another tenant at the same server."""
    key = (await caller.gateway.access.keys.create(tenant=name)).secret
    await caller.gateway.access.refresh()
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=caller.http.base_url, headers=headers, timeout=60) as http:
        yield Caller(caller.gateway, http)


Backlog = Callable[[Caller, contextlib.AsyncExitStack], Awaitable[None]]


async def one_tenants_books(caller: Caller, stack: contextlib.AsyncExitStack) -> None:
    other = await stack.enter_async_context(tenant(caller, "other"))
    for n in range(40):
        await other.run(book(f"Book{n}"))


async def one_tenants_low_books(caller: Caller, stack: contextlib.AsyncExitStack) -> None:
    other = await stack.enter_async_context(tenant(caller, "other"))
    for n in range(40):
        await other.run(book(f"Book{n}"), **LOW)


async def own_books(caller: Caller, stack: contextlib.AsyncExitStack) -> None:
    for n in range(40):
        await caller.run(book(f"Book{n}"))


async def own_low_books(caller: Caller, stack: contextlib.AsyncExitStack) -> None:
    for n in range(40):
        await caller.run(book(f"Book{n}"), **LOW)


async def ten_tenants_in_turn(caller: Caller, stack: contextlib.AsyncExitStack) -> None:
    others = [await stack.enter_async_context(tenant(caller, f"t{n}")) for n in range(10)]
    for n in range(4):
        for t, other in enumerate(others):
            await other.run(book(f"Book{n} of t{t}"))


BACKLOGS = [one_tenants_books, one_tenants_low_books, own_books, own_low_books, ten_tenants_in_turn]


@pytest.mark.parametrize("backlog", BACKLOGS)
async def test_a_sentence_waits_at_most_two_chunks_of_any_backlog(tmp_path: Path, backlog: Backlog) -> None:
    async with stage(tmp_path) as place, contextlib.AsyncExitStack() as stack:
        [caller] = place.servers
        await backlog(caller, stack)
        for n in range(3):
            await place.step()
            assert await place.waited(caller, f"Sentence {n} is for a listener.") <= MOST
        assert await place.waited(caller, "Two chunks are a short job, too.\n\nThis is the second of them.") <= MOST


@pytest.mark.parametrize("backlog", [one_tenants_books, own_low_books, ten_tenants_in_turn])
async def test_a_sentence_waits_at_most_two_chunks_on_either_of_two_servers(tmp_path: Path, backlog: Backlog) -> None:
    async with stage(tmp_path, servers=2) as place, contextlib.AsyncExitStack() as stack:
        await backlog(place.servers[0], stack)
        for n in range(2):
            for at, caller in enumerate(place.servers):
                await place.step()
                assert await place.waited(caller, f"Sentence {n} is for a listener at server {at}.") <= MOST


async def test_a_sentence_waits_at_most_two_chunks_of_ten_tenants_floods_of_sentences(tmp_path: Path) -> None:
    async with stage(tmp_path) as place, contextlib.AsyncExitStack() as stack:
        [caller] = place.servers
        others = [await stack.enter_async_context(tenant(caller, f"t{n}")) for n in range(10)]
        for n in range(8):
            for t, other in enumerate(others):
                await other.run(f"Number {n} of tenant {t} is one of many.")
        for n in range(4):
            await place.step()
            assert await place.waited(caller, f"Sentence {n} is for a listener.") <= MOST


async def test_another_tenants_book_begins_beside_all_the_books_of_one(tmp_path: Path) -> None:
    async with stage(tmp_path) as place, contextlib.AsyncExitStack() as stack:
        [caller] = place.servers
        await one_tenants_books(caller, stack)
        await place.step()
        await place.until_it_waits(await caller.run(book("Mine")))
        before = len(place.texts())
        for _ in range(4):
            await place.step()
            await asyncio.sleep(0.02)
        assert [text for text in place.texts()[before:] if text.startswith("Mine")]


async def test_books_go_on_while_sentences_never_end(tmp_path: Path) -> None:
    async with stage(tmp_path, max_running=8) as place:
        [caller] = place.servers
        for n in range(40):
            await caller.run(f"Sentence {n} is one of a flood.")
        job_id = await caller.run(book("Book"))
        for _ in range(30):
            await place.step()
        assert any(text.startswith("Book") for text in place.texts())
        assert (await caller.http.get("/v2/tests/health")).json()["jobs"]["inQueue"], "the flood has no end yet"
        assert (await caller.status(job_id))["status"] == "IN_PROGRESS"


async def test_running_jobs_share_a_budget_of_memory_and_a_larger_one_runs_alone(tmp_path: Path) -> None:
    budget = {"chunk_window": 1, "running_bytes": 3_000_000}
    async with stage(tmp_path, **budget) as place, contextlib.AsyncExitStack() as stack:
        [caller] = place.servers
        other = await stack.enter_async_context(tenant(caller, "other"))
        held = caller.gateway.metrics.running_bytes._value
        # Each of these is expected to hold about one and a half million bytes.
        made = [(who, await who.run(book(f"Book{n}", 2_000))) for n in range(2) for who in (caller, other)]
        for who, job_id in made[:2]:
            await who.until(job_id, "IN_PROGRESS")
        assert 2_000_000 < held.get() <= 3_000_000
        await place.waited(caller, "A sentence always has room.")
        assert [(await who.status(job_id))["status"] for who, job_id in made[2:]] == ["IN_QUEUE"] * 2
        giant = await caller.run(book("Giant", 9_000))
        for who, job_id in made:
            await who.post(f"cancel/{job_id}")
        await caller.until(giant, "IN_PROGRESS")
        beside = await other.run(book("Beside", 20))
        await place.waited(caller, "Another sentence has room, too.")
        assert (await other.status(beside))["status"] == "IN_QUEUE"
        await caller.post(f"cancel/{giant}")
        await other.until(beside, "IN_PROGRESS")


async def test_a_normal_request_for_a_low_jobs_text_waits_as_any_other_does(tmp_path: Path) -> None:
    async with stage(tmp_path) as place, contextlib.AsyncExitStack() as stack:
        [caller] = place.servers
        await own_books(caller, stack)
        await place.step()
        for n in range(2):
            low = await caller.run(f"Sentence {n} is wanted twice.", **LOW)
            await place.until_it_waits(low)
            follower = await caller.run(f"Sentence {n} is wanted twice.")
            assert await steps_until_ended(place, caller, follower) <= MOST + 1
            assert (await caller.until(low))["status"] == "COMPLETED"
        assert len([text for text in place.texts() if "wanted twice" in text]) == 2


async def test_a_follower_that_came_before_its_leader_was_claimed_leads(tmp_path: Path) -> None:
    async with stage(tmp_path, max_running=8) as place:
        [caller] = place.servers
        for n in range(10):
            await caller.run(f"Low sentence {n} holds a place.", **LOW)
        low = await caller.run("This text is wanted twice.", **LOW)
        assert (await caller.status(low))["status"] == "IN_QUEUE"
        assert await place.waited(caller, "This text is wanted twice.") <= MOST
        assert (await caller.until(low))["output"]["cache_hit"] is True


async def test_a_follower_at_another_server_lifts_the_leader(tmp_path: Path) -> None:
    async with stage(tmp_path, servers=2) as place, contextlib.AsyncExitStack() as stack:
        one, other = place.servers
        await own_books(one, stack)
        await place.step()
        low = await one.run("This text is wanted twice.", **LOW)
        await place.until_it_waits(low)
        leader = one if low in one.gateway._claimer.running else other
        follower = await (other if leader is one else one).run("This text is wanted twice.")
        async with asyncio.timeout(20):
            while leader.gateway._claimer.running[low].rank.lane is Lane.LOW:
                await asyncio.sleep(0.02)
        assert await steps_until_ended(place, one, follower) <= MOST + 1


async def test_a_chunk_in_flight_is_as_urgent_as_whoever_waits_for_it(tmp_path: Path) -> None:
    async with stage(tmp_path) as place, contextlib.AsyncExitStack() as stack:
        [caller] = place.servers
        await own_books(caller, stack)
        await place.step()
        low = await caller.run("This chunk is wanted in two forms.", format="mp3", **LOW)
        await place.until_it_waits(low)
        other = await caller.run("This chunk is wanted in two forms.", format="wav")
        assert await steps_until_ended(place, caller, other) <= MOST + 1
        assert (await caller.until(low))["status"] == "COMPLETED"
        assert len([text for text in place.texts() if "two forms" in text]) == 1


async def steps_until_ended(place: Stage, caller: Caller, job_id: str) -> int:
    """Chunks each engine speaks until the job has ended, its own included."""
    await asyncio.sleep(1.5)  # servers hear of each other within a second
    for steps in range(20):
        for _ in range(10):
            if (await caller.status(job_id))["status"] == "COMPLETED":
                return steps
            await asyncio.sleep(0.03)
        await place.step()
    raise AssertionError("it has not ended")


@pytest.mark.parametrize(
    ("text", "lane"),
    [
        ("A sentence.", Lane.SHORT),
        ("One paragraph.\n\nAnd another.", Lane.SHORT),
        ("One.\n\nTwo.\n\nThree.", Lane.LONG),
        ("***\n\nOne.\n\n* * *\n\nTwo.\n\n***", Lane.SHORT),
        ("A sentence of just so many words as this. " * 2, Lane.SHORT),
        ("A sentence of just so many words as this. " * 3, Lane.LONG),
        ("Word " * 200, Lane.LONG),
    ],
)
async def test_a_job_is_short_when_it_is_spoken_in_at_most_two_chunks(tmp_path: Path, text: str, lane: Lane) -> None:
    async with stage(tmp_path) as place:
        [caller] = place.servers
        job_id = await caller.run(text)
        await place.until_it_waits(job_id)
        low = await caller.run(f"{text} Later.", **LOW)
        assert rows(tmp_path, "SELECT lane FROM jobs WHERE id = ?", job_id) == [(lane,)]
        assert rows(tmp_path, "SELECT lane FROM jobs WHERE id = ?", low) == [(Lane.LOW,)]
        chunks = (await caller.status(job_id))["progress"]["chunks_total"]
        assert (chunks <= 2) == (lane is Lane.SHORT)
