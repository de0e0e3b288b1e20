from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest
import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError
from support.storage import on_postgresql, on_sqlite, opened, select

from gateway.clock import SystemClock
from storage.db.batches import PACES, Batches
from storage.db.database import Database
from storage.db.writer import Writer
from storage.errors import StorageError

PUT = text(
    "INSERT INTO endpoints (id, created_ms, updated_ms, policy, defaults, limits) VALUES (:id, 0, 0, '', '', '')"
)


def rows(database: Database) -> set[str]:
    url = database.place if database.dialect == "postgresql" else f"sqlite:///{database.place}"
    return {row[0] for row in select(url, "SELECT id FROM endpoints")}


async def test_an_insert_is_answered_only_when_another_connection_can_read_it(database: Database) -> None:
    async def put(key: str) -> bool:
        await database.writer.insert(PUT, {"id": key})
        return key in rows(database)

    assert all(await asyncio.gather(*(put(f"k{n}") for n in range(50))))


async def test_one_bad_row_in_a_group_fails_alone(database: Database) -> None:
    await database.writer.insert(PUT, {"id": "taken"})
    wanted = [f"k{n}" for n in range(20)]
    wanted.insert(10, "taken")
    outcomes = await asyncio.gather(
        *(database.writer.insert(PUT, {"id": key}) for key in wanted), return_exceptions=True
    )
    assert isinstance(outcomes.pop(10), IntegrityError)
    assert outcomes == [None] * 20
    assert rows(database) == set(wanted)


async def test_rows_given_together_are_written_all_or_none(database: Database) -> None:
    await database.writer.insert(PUT, {"id": "taken"})
    outcomes = await asyncio.gather(
        database.writer.insert_many(PUT, [{"id": "new"}, {"id": "taken"}]),
        database.writer.insert_many(PUT, [{"id": "a"}, {"id": "b"}]),
        database.writer.insert_many(PUT, []),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], IntegrityError)
    assert rows(database) == {"taken", "a", "b"}


async def test_rows_of_one_group_are_given_to_their_function_together_and_a_bad_one_fails_alone(
    database: Database,
) -> None:
    calls: list[list[str]] = []

    def write(connection: Connection, keys: Sequence[str]) -> None:
        calls.append(list(keys))
        connection.execute(PUT, [{"id": key} for key in keys])

    names = [f"k{n}" for n in range(20)]
    await asyncio.gather(*(database.writer.gather(write, name) for name in names))
    assert sorted(key for call in calls for key in call) == sorted(names)
    assert len(calls) <= 2, "the first may be a group of its own"
    outcomes = await asyncio.gather(
        *(database.writer.gather(write, name) for name in ("new", "k7", "other")), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), IntegrityError, type(None)]
    assert rows(database) == {*names, "new", "other"}


def waits(connection: Connection) -> bool:
    """Return whether this transaction's commit waits for the disk."""
    if connection.dialect.name == "sqlite":
        return bool(connection.execute(text("PRAGMA synchronous")).scalar_one() == 2)
    return bool(connection.execute(text("SHOW synchronous_commit")).scalar_one() == "on")


async def test_a_group_waits_for_the_disk_unless_none_of_its_members_needs_to(database: Database) -> None:
    run = database.writer.run
    assert not await run(waits, lazy=True)
    assert await run(waits)
    assert await asyncio.gather(run(waits, lazy=True), run(waits)) == [True, True]
    assert await asyncio.gather(run(waits, lazy=True), database.writer.insert(PUT, {"id": "a"})) == [True, None]
    assert await asyncio.gather(run(waits, lazy=True), run(waits, lazy=True)) == [False, False]


@on_sqlite
async def test_a_commit_that_waits_for_the_disk_reaches_it_even_if_only_those_before_it_have_written(
    database: Database,
) -> None:
    await database.writer.run(lambda conn: conn.execute(PUT, {"id": "lazy"}).rowcount, lazy=True)
    before = await database.data_version()
    await database.writer.run(lambda conn: None)
    after = await database.data_version()
    assert after != before, "SQLite waits for the disk with a commit that writes something, and with no other"
    await database.writer.run(lambda conn: None)
    assert await database.data_version() == after, "and there is nothing to wait for now"


@on_postgresql
async def test_on_postgresql_a_write_is_committed_while_a_batch_is_under_way(database: Database) -> None:
    written = threading.Event()
    batch = asyncio.create_task(
        Batches(database, SystemClock()).run(["a batch"], lambda conn, some: written.wait(timeout=30))
    )
    await asyncio.sleep(0)  # the batch begins first
    await database.writer.insert(PUT, {"id": "submitted"})
    written.set()
    assert await batch == [True], "the write had to wait for the batch"
    assert rows(database) == {"submitted"}


async def test_batches_wait_for_the_disk_once_for_all_of_them(database: Database) -> None:
    batches = Batches(database, SystemClock())
    waited = await batches.run(range(10 * PACES[database.dialect].most), lambda conn, some: waits(conn))
    assert len(waited) >= 10
    assert waited == [False] * (len(waited) - 1) + [True]


async def test_what_follows_a_commit_follows_though_its_caller_has_left_and_harms_nobody_if_it_fails(
    database: Database,
) -> None:
    def write(connection: Connection, keys: Sequence[str]) -> None:
        connection.execute(PUT, [{"id": key} for key in keys])

    def crash() -> None:
        raise ValueError("no")

    followed: list[str] = []
    leaving = asyncio.create_task(database.writer.gather(write, "left", lambda: followed.append("left")))
    await asyncio.sleep(0)
    leaving.cancel()
    async with asyncio.timeout(30):
        outcomes = await asyncio.gather(
            database.writer.gather(write, "crashed", crash),
            database.writer.gather(write, "left", lambda: followed.append("refused")),
            database.writer.gather(write, "fine", lambda: followed.append("fine")),
            return_exceptions=True,
        )
    assert [type(outcome) for outcome in outcomes] == [ValueError, IntegrityError, type(None)]
    assert followed == ["left", "fine"]
    assert rows(database) == {"left", "crashed", "fine"}


async def test_a_function_that_raises_leaves_nothing_and_harms_nobody_in_its_group(database: Database) -> None:
    def break_off(connection: Connection) -> None:
        connection.execute(PUT, {"id": "half"})
        raise ValueError("changed my mind")

    outcomes = await asyncio.gather(
        database.writer.insert(PUT, {"id": "before"}),
        database.writer.run(break_off),
        database.writer.run(lambda connection: connection.execute(PUT, {"id": "after"}).rowcount),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], ValueError)
    assert outcomes[2] == 1
    assert rows(database) == {"before", "after"}


async def test_a_commit_that_crashes_fails_those_who_wait_for_it_and_nobody_after_them(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = Writer._commit

    def crash(writer: Writer, group: Any) -> Any:
        monkeypatch.setattr(Writer, "_commit", commit)
        raise MemoryError("no room for the outcomes")

    monkeypatch.setattr(Writer, "_commit", crash)
    async with asyncio.timeout(30):
        with structlog.testing.capture_logs() as lines:
            outcomes = await asyncio.gather(
                *(database.writer.insert(PUT, {"id": f"lost-{n}"}) for n in range(3)), return_exceptions=True
            )
        assert [type(outcome) for outcome in outcomes] == [MemoryError] * 3
        await database.writer.insert(PUT, {"id": "later"})
    assert rows(database) == {"later"}
    assert [line["event"] for line in lines] == ["commit_crashed"]


async def test_a_failure_that_no_future_takes_is_an_error_all_the_same(database: Database) -> None:
    async with asyncio.timeout(30):
        outcomes = await asyncio.gather(
            database.writer.run(lambda _: next(iter(()))),
            database.writer.insert(PUT, {"id": "beside"}),
            return_exceptions=True,
        )
    assert isinstance(outcomes[0], TypeError)
    assert outcomes[1] is None
    assert rows(database) == {"beside"}


async def test_a_caller_that_goes_away_does_not_undo_its_write_or_hold_up_the_others(database: Database) -> None:
    leaving = asyncio.create_task(database.writer.insert(PUT, {"id": "gone"}))
    await asyncio.sleep(0)
    leaving.cancel()
    await database.writer.insert(PUT, {"id": "stays"})
    assert leaving.cancelled() or leaving.done()
    assert rows(database) == {"gone", "stays"}


async def test_what_is_queued_is_committed_before_the_database_closes(database_url: str) -> None:
    async with opened(database_url) as database:
        writes = [asyncio.create_task(database.writer.insert(PUT, {"id": f"k{n}"})) for n in range(100)]
        await asyncio.sleep(0)
    await asyncio.gather(*writes)
    assert len(rows(database)) == 100
    with pytest.raises(StorageError, match="stopping"):
        await database.writer.insert(PUT, {"id": "late"})


@on_sqlite  # elsewhere writers do not take turns: what they count is locked by the statements that count
async def test_two_servers_write_to_one_file_without_losing_or_failing_anything(database_url: str) -> None:
    servers = [await Database.open(database_url) for _ in range(2)]

    def count(connection: Connection) -> int:
        # Read, then write: a deferred transaction fails here at once when the other server writes.
        seen = int(connection.execute(text("SELECT COUNT(*) FROM endpoints")).scalar_one())
        connection.execute(PUT, {"id": f"counted {seen}"})
        return seen

    try:
        seen = await asyncio.gather(*(servers[n % 2].writer.run(count) for n in range(100)))
        assert sorted(seen) == list(range(100))
    finally:
        for server in servers:
            await server.close()
