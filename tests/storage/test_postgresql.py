"""PostgreSQL faults, caused on a real server, are survived or reported with a cure."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from support.postgres import migrated_database, postgres_server, the_server
from support.storage import HandClock, a_job, jobs_of, opened, select

from gateway.errors import status_of
from storage.db.database import Database
from storage.db.notices import Topic, payloads, read_payload
from storage.errors import StorageError, StorageLocked, StorageReadOnly, StorageUnavailable
from storage.jobs.queue import JobStore
from storage.records import Idempotency, JobState

PUT = text(
    "INSERT INTO endpoints (id, created_ms, updated_ms, policy, defaults, limits) VALUES (:id, 0, 0, '', '', '')"
)
ADD = text("UPDATE endpoints SET updated_ms = updated_ms + 1 WHERE id = :id")


@pytest.fixture
def url() -> Iterator[str]:
    with migrated_database() as url:
        yield url


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    async with opened(url, patience_s=20) as database:
        yield database


def hang_up(url: str) -> None:
    """End every session of the database but the one that does it."""
    name = make_url(url).database
    the_server().execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")


async def test_sessions_that_were_ended_are_opened_again_unnoticed(url: str, database: Database) -> None:
    jobs = JobStore(database, HandClock())
    for n in range(5):
        await jobs.insert(a_job(f"job-{n}"))
        hang_up(url)
        assert await jobs.get(f"job-{n}") == a_job(f"job-{n}")
        hang_up(url)
        assert isinstance(await database.data_version(), int)


async def test_writes_and_reads_wait_for_a_restart_and_nothing_is_lost_or_written_twice(
    url: str, database: Database
) -> None:
    going = asyncio.Event()

    async def write(first: int) -> None:
        for n in range(first, first + 40):
            await database.writer.insert(PUT, {"id": f"e{n}"})
            await database.writer.run(lambda conn, n=n: conn.execute(ADD, {"id": f"e{n}"}).rowcount)  # type: ignore[misc]
            await database.read(lambda conn: conn.execute(text("SELECT 1")).scalar_one())
            going.set()

    writing = [asyncio.create_task(write(first)) for first in range(0, 400, 40)]
    await going.wait()
    for how in ("fast", "immediate"):
        await asyncio.to_thread(the_server().stop, how)
        await asyncio.sleep(0.3)
        await asyncio.to_thread(the_server().start)
    await asyncio.gather(*writing)
    assert select(url, "SELECT COUNT(*), MIN(updated_ms), MAX(updated_ms) FROM endpoints") == [(400, 1, 1)]


class Cutter:
    """A way to PostgreSQL that breaks at the next COMMIT: before it is heard, or before its answer is."""

    def __init__(self, port: int) -> None:
        self.cut: str | None = None
        self.cuts = 0
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                ours, _ = self._listener.accept()
                theirs = socket.create_connection(("127.0.0.1", self._port))
                for source, target, outward in ((ours, theirs, True), (theirs, ours, False)):
                    threading.Thread(target=self._pump, args=(source, target, outward), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, outward: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if outward and b"COMMIT" in data and self.cut == "before":
                    break
                if outward and b"COMMIT" in data and self.cut == "after":
                    self.cut = "its answer"
                elif not outward and self.cut == "its answer":
                    break
                target.sendall(data)
        if self.cut is not None:
            self.cut = None
            self.cuts += 1
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_commit_whose_answer_is_lost_is_looked_up_and_never_done_twice(url: str, when: str) -> None:
    cutter = Cutter(the_server().port)
    try:
        async with opened(str(make_url(url).set(port=cutter.port))) as database:
            await database.writer.insert(PUT, {"id": "e"})
            for n in range(1, 4):
                cutter.cut = when
                seen = await database.writer.run(
                    lambda conn: [conn.execute(ADD, {"id": "e"}).rowcount, conn.execute(PUT_NEXT).rowcount]
                )
                assert (seen, cutter.cuts) == ([1, 1], n)
                assert select(url, "SELECT updated_ms FROM endpoints WHERE id = 'e'") == [(n,)]
        assert select(url, "SELECT COUNT(*) FROM endpoints") == [(4,)]
    finally:
        cutter.close()


PUT_NEXT = text(
    "INSERT INTO endpoints (id, created_ms, updated_ms, policy, defaults, limits) "
    "SELECT 'e' || COUNT(*), 0, 0, '', '', '' FROM endpoints"
)


async def test_two_servers_that_deadlock_both_get_on(url: str, database: Database) -> None:
    async with opened(url) as other:
        for n in range(8):
            await database.writer.insert(PUT, {"id": f"e{n}"})
        there = threading.Barrier(2)

        def both(first: str, second: str) -> Any:
            meet = [True]

            def add(conn: Connection) -> None:
                conn.execute(ADD, {"id": first})
                if meet.pop() if meet else False:
                    there.wait(10)
                conn.execute(ADD, {"id": second})

            return add

        for n in range(0, 8, 2):
            a, b = f"e{n}", f"e{n + 1}"
            await asyncio.gather(database.writer.run(both(a, b)), other.writer.run(both(b, a)))
    assert select(url, "SELECT DISTINCT updated_ms FROM endpoints") == [(2,)]


async def test_a_locked_table_says_so_and_recovers(url: str) -> None:
    async with opened(url, busy_timeout_ms=200) as database:
        jobs = JobStore(database, HandClock())
        with psycopg.connect(url) as holder:
            holder.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
            outcomes = await asyncio.gather(*(jobs.insert(a_job(f"j{n}")) for n in range(20)), return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {StorageLocked}
            with pytest.raises(StorageLocked, match="locked by another session"):
                await jobs.get("j1")
            holder.rollback()
        await jobs.insert(a_job())
        assert await jobs.get("job-1") == a_job()


async def test_a_database_that_takes_no_writes_says_so(url: str) -> None:
    the_server().execute(f"ALTER DATABASE {make_url(url).database} SET default_transaction_read_only = on")
    async with opened(url) as database:
        with pytest.raises(StorageReadOnly, match="name the primary"):
            await JobStore(database).insert(a_job())


async def test_a_user_without_rights_is_told(url: str) -> None:
    with contextlib.suppress(psycopg.errors.DuplicateObject):
        the_server().execute("CREATE ROLE stranger LOGIN")
    async with opened(str(make_url(url).set(username="stranger"))) as database:
        with pytest.raises(StorageReadOnly, match="denies this user a permission"):
            await JobStore(database).insert(a_job())


async def test_a_server_that_is_not_there_is_named_with_the_cure_and_without_the_password() -> None:
    with pytest.raises(StorageUnavailable) as caught:
        await Database.open("postgresql://voxgate:hush@127.0.0.1:1/voxgate")
    message = str(caught.value)
    assert "start PostgreSQL, or correct VOXGATE_DATABASE__URL" in message
    assert "hush" not in message
    assert "\n" not in message
    assert status_of(caught.value) == 503


async def test_a_database_without_our_tables_names_the_command() -> None:
    with postgres_server() as url:
        async with opened(url) as database:
            with pytest.raises(StorageUnavailable, match="run: voxgate db upgrade"):
                await JobStore(database).get("job-1")


async def test_patience_ends_and_begins_anew_when_it_has_been_of_use(url: str) -> None:
    async with opened(url, patience_s=0.3) as database:
        jobs = JobStore(database, HandClock())
        await jobs.insert(a_job())
        await asyncio.to_thread(the_server().stop)
        try:
            for step in (jobs.insert(a_job("job-2")), jobs.get("job-1"), database.answers(), database.data_version()):
                with pytest.raises(StorageUnavailable):
                    await step
        finally:
            await asyncio.to_thread(the_server().start)
        await database.answers()
        assert await jobs.get("job-1") == a_job()
        await jobs.insert(a_job("job-2"))
        assert {job.id for job in await jobs_of(database)} == {"job-1", "job-2"}


async def test_the_same_idempotency_key_at_two_servers_makes_one_job(url: str, database: Database) -> None:
    async with opened(url) as other:
        stores = [JobStore(database), JobStore(other)]
        for n in range(20):
            key = Idempotency(f"key-{n}", "hash")
            made = await asyncio.gather(*(stores[i].insert(a_job(f"job-{n}-{i}"), key) for i in range(2)))
            assert len({job.id for job in made}) == 1
    assert select(url, "SELECT COUNT(*) FROM jobs") == [(20,)]


async def test_nul_in_an_error_or_an_id_harms_nobody(database: Database) -> None:
    jobs = JobStore(database, HandClock())
    await jobs.insert(a_job())
    [job] = await jobs.leases.claim(["job-1"], "a")
    assert (await jobs.ends.fail("job-1", "a", job.attempt, JobState.FAILED, "engine said \0", "failed")).ok
    ended = await jobs.get("job-1")
    assert ended is not None
    assert ended.error == "engine said \ufffd"
    assert await jobs.get("job\0-1") is None


async def test_ids_sort_by_their_bytes_whatever_the_language_of_the_database(url: str) -> None:
    collations = select(
        url,
        "SELECT DISTINCT co.collname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
        "JOIN pg_collation co ON co.oid = a.attcollation WHERE c.relkind = 'r' AND a.attnum > 0 "
        "AND c.relnamespace = 'public'::regnamespace AND c.relname <> 'alembic_version'",
    )
    assert collations == [("C",)]


async def test_a_notice_leaves_with_its_commit_and_not_without(url: str, database: Database) -> None:
    heard: list[tuple[Topic, tuple[str, ...]]] = []
    async with opened(url) as other:
        other.listen({topic: lambda names, topic=topic: heard.append((topic, names)) for topic in Topic})  # type: ignore[misc]
        async with asyncio.timeout(20):
            while len(heard) < len(Topic):  # it has begun to listen: anything may have happened before
                await asyncio.sleep(0.01)
        heard.clear()
        jobs, own = JobStore(database, HandClock()), JobStore(other, HandClock())
        await own.insert(a_job("told by itself"))
        with pytest.raises(StorageError):
            await database.writer.run(_tell_and_fail)
        await jobs.insert(a_job())
        [job] = await jobs.leases.claim(["job-1"], "a")
        await jobs.ends.requeue(job.id, "a", job.attempt, "later", count_failure=False)
        await jobs.ends.cancel("job-1")
        async with asyncio.timeout(20):
            while (Topic.JOBS, ("job-1",)) not in heard:
                await asyncio.sleep(0.01)
        assert [topic for topic, _ in heard if topic is not Topic.QUEUE] == [Topic.JOBS]
        assert heard[:2] == [(Topic.QUEUE, ()), (Topic.QUEUE, ())]


def _tell_and_fail(connection: Connection) -> None:
    connection.execute(PUT, {"id": "e"})
    from storage.db.notices import notify

    notify(connection, Topic.VOICES)
    raise StorageError("changed my mind")


def test_notices_of_many_jobs_fit_into_several_messages() -> None:
    names = [f"0193f2c4-0000-7000-8000-{n:012}-u1" for n in range(500)]
    messages = payloads({Topic.JOBS: dict.fromkeys(names), Topic.KEYS: {}})
    assert all(len(payload) < 8000 for _, payload in messages)
    read = [read_payload(*message) for message in messages]
    assert [name for topic, part in read if topic is Topic.JOBS for name in part] == names  # type: ignore[misc]
    assert read[-1] == (Topic.KEYS, ())
    assert read_payload("voxgate_changes", "something newer") is None
