from __future__ import annotations

from support.storage import START_MS, HandClock, select

from storage.db.database import Database
from storage.endpoints import EndpointRecord, EndpointStore


async def test_an_endpoint_keeps_its_first_day_and_the_history_of_its_policy(
    database: Database, database_url: str, clock: HandClock
) -> None:
    endpoints = EndpointStore(database, clock)
    made = EndpointRecord("narrator", None, START_MS, START_MS, policy='{"fallback":["a"]}')
    await endpoints.put(made, "cli", "first")
    clock.turn(60)
    await endpoints.put(EndpointRecord("narrator", "t", 0, clock.now_ms(), made.policy, '{"speed":1.1}'), "cli")
    changed = EndpointRecord("narrator", "t", 0, clock.now_ms(), '{"fallback":["b"]}')
    await endpoints.put(changed, "key-1", "a is down")
    kept = await endpoints.get("narrator")
    assert kept is not None
    assert (kept.created_ms, kept.updated_ms, kept.policy) == (START_MS, START_MS + 60_000, changed.policy)
    assert await endpoints.all() == [kept]
    assert await endpoints.delete("narrator", "cli")
    assert not await endpoints.delete("narrator", "cli")
    assert select(database_url, "SELECT before, after, actor FROM route_changes ORDER BY id") == [
        ("", made.policy, "cli"), (made.policy, changed.policy, "key-1"), (changed.policy, "", "cli"),
    ]  # fmt: skip
