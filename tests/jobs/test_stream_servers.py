"""`/stream` at several servers of one database: every item once, whatever becomes of the server that sends it."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.databases import url_of
from support.running import Caller, running
from support.served import Served, site
from support.storage import locked_by_another
from support.streaming import asking, drain, poll

from gateway.jobs.listen import stream_handouts as sendings

PARAGRAPHS = 8
TEXT = "\n\n".join(f"Paragraph number {n} says something of its own, and then it ends." for n in range(PARAGRAPHS))
LONG_ITEMS = {"seconds_per_char": 0.25}
"""One of these is an answer, and more than what the machine's buffers take."""
NEVER_S = 3600.0


def numbers(*pages: dict[str, Any]) -> list[int]:
    """Return the indexes of the items in these `/stream` answers."""
    return [item["output"]["index"] for page in pages for item in page["stream"]]


@pytest.fixture
def never_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sendings, "STALE_S", NEVER_S)


@pytest.mark.slow
async def test_two_servers_that_are_asked_in_turn_without_a_pause_give_every_item_once(tmp_path: Path) -> None:
    async with site(tmp_path) as place:
        callers = [served.caller for served in await asyncio.gather(place.start(), place.start())]
        job_id = await callers[0].run(TEXT, format="wav", options={"chunk_delay_s": 0.4})
        given: list[int] = []
        url = url_of(place.data_dir) or f"sqlite:///{place.data_dir}/voxgate.db"
        async with asyncio.timeout(120), often_locked(url):
            for caller in itertools.cycle(callers):
                page = await poll(caller, job_id)
                given += numbers(page)
                if page["status"] == "COMPLETED" and not page["stream"]:
                    break
        assert given == list(range(PARAGRAPHS))


@asynccontextmanager
async def often_locked(url: str) -> AsyncIterator[None]:
    """Every commit takes as long as on a busy disk."""
    done = threading.Event()

    def lock() -> None:
        while not done.wait(0.1):
            with locked_by_another(url):
                done.wait(0.1)

    locking = asyncio.create_task(asyncio.to_thread(lock))
    try:
        yield
    finally:
        done.set()
        await locking


@asynccontextmanager
async def two_servers(folder: Path) -> AsyncIterator[tuple[Caller, Caller, str]]:
    """Both, and a finished job of which an answer holds one item."""
    fields: dict[str, Any] = {"backends": {"scripted": LONG_ITEMS}}
    async with running(folder, **fields) as one, running(folder, **fields) as other:
        job_id = await one.run(TEXT, format="wav")
        await one.until(job_id)
        yield one, other, job_id


async def test_polls_that_are_held_at_the_same_moment_share_the_items(tmp_path: Path, never_stale: None) -> None:
    async with two_servers(tmp_path) as (one, other, job_id):
        given: list[int] = []
        async with asyncio.timeout(60):
            while len(given) < PARAGRAPHS:
                given += numbers(*await asyncio.gather(*(poll(caller, job_id) for caller in (one, other, one, other))))
        assert sorted(given) == list(range(PARAGRAPHS))
        assert (await poll(one, job_id)) == (await poll(other, job_id)) == {"status": "COMPLETED", "stream": []}


@asynccontextmanager
async def in_the_middle_of_an_answer(served: Served | Caller, job_id: str) -> AsyncIterator[Any]:
    """While this lasts a server has begun to send items to somebody who does not take them all."""
    url = served.url if isinstance(served, Served) else str(served.http.base_url)
    async with asking(url, f"/v2/tests/stream/{job_id}") as asker:
        assert (await asyncio.get_running_loop().sock_recv(asker, 1000)).startswith(b"HTTP/1.1 200")
        yield asker


async def test_what_one_server_could_not_deliver_another_gives_at_once(tmp_path: Path, never_stale: None) -> None:
    async with two_servers(tmp_path) as (one, other, job_id):
        async with in_the_middle_of_an_answer(one, job_id):
            # A final status would end the stream of a client that stops at the first one.
            assert await poll(other, job_id, wait=1000) == {"status": "IN_PROGRESS", "stream": []}
            assert numbers(await poll(other, job_id, **{"from": 0})) == [0]
        items, _ = await drain(other, job_id)
        assert [item["index"] for item in items] == list(range(PARAGRAPHS))


@pytest.mark.slow
async def test_a_server_that_was_killed_while_it_sent_holds_the_stream_up_for_a_while_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, never_stale: None
) -> None:
    async with site(tmp_path, BACKENDS__SCRIPTED__SECONDS_PER_CHAR=0.25) as place:
        served = await place.start()
        job_id = await served.caller.run(TEXT, format="wav")
        await served.caller.until(job_id)
        async with in_the_middle_of_an_answer(served, job_id):
            await served.kill()
        async with running(place.data_dir, backends={"scripted": LONG_ITEMS}) as other:
            assert await poll(other, job_id, wait=1000) == {"status": "IN_PROGRESS", "stream": []}
            monkeypatch.setattr(sendings, "STALE_S", 0.5)
            items, _ = await drain(other, job_id)
            assert [item["index"] for item in items] == list(range(PARAGRAPHS))


async def test_who_is_so_slow_that_others_were_given_the_items_does_not_get_the_whole_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sendings, "STALE_S", 0.5)
    async with two_servers(tmp_path) as (one, other, job_id):
        async with in_the_middle_of_an_answer(one, job_id) as asker:
            items, _ = await drain(other, job_id)
            assert [item["index"] for item in items] == list(range(PARAGRAPHS))
            answer = b""
            async with asyncio.timeout(60):
                while piece := await asyncio.get_running_loop().sock_recv(asker, 65_536):
                    answer += piece
        assert len(answer) > 1_000_000 and not answer.endswith(b"}")
        assert numbers(await poll(one, job_id)) == []
