"""A server reads what it holds in memory once more only when that was changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import text
from support.storage import HandClock, a_job, opened

from gateway.library.pronunciations import Pronunciations
from gateway.routing.endpoints import Endpoints
from gateway.settings import Settings
from storage.db.database import Database
from storage.endpoints import EndpointRecord, EndpointStore
from storage.jobs.queue import JobStore
from storage.keys import KeyRecord, KeyStore
from storage.pronunciations import PronunciationStore
from storage.records import BlobRecord
from storage.voices import VoiceRecord, VoiceStore

Step = Callable[[Database], Awaitable[object]]


def a_voice(name: str) -> VoiceRecord:
    return VoiceRecord(f"t/{name}", "t", name, None, name, name, "{}", 1)


def a_key(key_id: str) -> KeyRecord:
    return KeyRecord(id=key_id, digest="00", tenant="t", env="test", scopes="speak", name="", created_ms=1)


MOVING: dict[str, tuple[type, list[Step]]] = {
    "voices": (VoiceStore, [
        lambda db: VoiceStore(db).add(a_voice("ann"), BlobRecord("ann", 1, ".wav"), 9),
        lambda db: VoiceStore(db).remove("t", "ann"),
    ]),
    "endpoints": (EndpointStore, [
        lambda db: EndpointStore(db).put(EndpointRecord("news", None, 1, 1), "test"),
        lambda db: EndpointStore(db).put(EndpointRecord("news", None, 1, 2, defaults='{"voice":"ann"}'), "test"),
        lambda db: EndpointStore(db).delete("news", "test"),
    ]),
    "pronunciations": (PronunciationStore, [
        lambda db: PronunciationStore(db).put("t", 0, "[]", 1),
        lambda db: PronunciationStore(db).put("t", 1, "[]", 2),
    ]),
    "keys": (KeyStore, [
        lambda db: KeyStore(db).insert_first(a_key("k1")),
        lambda db: KeyStore(db).insert(a_key("k2")),
        lambda db: KeyStore(db).rotate("k1", a_key("k3"), 99),
        lambda db: KeyStore(db).revoke("k2", 5),
    ]),
}  # fmt: skip


@pytest.mark.parametrize("what", MOVING)
async def test_every_change_moves_its_mark_and_no_other_write_does(
    database: Database, database_url: str, what: str
) -> None:
    store, steps = MOVING[what]
    async with opened(database_url) as another:
        seen = await store(another).mark()
        for step in steps:
            await step(database)
            moved = await store(another).mark()
            assert moved > seen
            seen = moved
        await JobStore(database).insert(a_job())
        await KeyStore(database).touch(["k1"], 7)
        assert not await PronunciationStore(database).put("t", 9, "[]", 1), "nothing is written over another version"
        for other in set(MOVING) - {what}:
            for step in MOVING[other][1]:
                await step(database)
        assert await store(another).mark() == seen


async def test_what_is_held_is_read_again_only_when_its_mark_has_moved(database: Database, clock: HandClock) -> None:
    endpoints = Endpoints(Settings(), EndpointStore(database))
    dictionaries = Pronunciations(PronunciationStore(database), clock)
    await endpoints.refresh()
    await dictionaries.refresh()
    # By hand and without the marks: so it is seen whether anybody has looked.
    for sql in (
        "INSERT INTO endpoints (id, created_ms, updated_ms, policy, defaults, limits) "
        "VALUES ('x', 1, 1, '{}', '{}', '{}')",
        "INSERT INTO pronunciations (tenant, version, updated_ms, entries) VALUES ('t', 1, 1, '[]')",
    ):
        await database.writer.run(lambda conn, sql=sql: conn.execute(text(sql)).rowcount)  # type: ignore[misc]
    assert not await endpoints.refresh()
    assert not await dictionaries.refresh()
    await EndpointStore(database).put(EndpointRecord("y", None, 1, 1), "test")
    await PronunciationStore(database).put("u", 0, "[]", 1)
    assert await endpoints.refresh()
    assert {"x", "y"} <= {endpoint.id for endpoint in endpoints.all()}
    assert await dictionaries.refresh()
    assert dictionaries.get("t").version == dictionaries.get("u").version == 1
