from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.access import NOON_MS, TurnedClock, opened, serving, settings_in, until
from support.after import rows
from support.running import running
from support.storage import locked_by_another, select

from gateway.access import Access, Principal
from gateway.errors import TooManyRequests
from storage.usage import UsageStore

SCOPES = frozenset({"speak"})


def _admitted(access: Access, principal: Principal, times: int, verb: str = "run", characters: int = 0) -> int:
    admitted = 0
    for _ in range(times):
        try:
            access.admit(principal, "default", verb, characters)
        except TooManyRequests:
            continue
        admitted += 1
    return admitted


async def test_without_limits_everything_is_admitted(tmp_path: Path, database_url: str) -> None:
    async with serving(settings_in(tmp_path, database_url), TurnedClock()) as access:
        assert _admitted(access, Principal("k", "t", SCOPES), 5000, characters=10_000) == 5000


async def test_requests_per_minute_are_exact_and_come_back_with_the_next_minute(
    tmp_path: Path, database_url: str
) -> None:
    clock = TurnedClock()
    async with serving(settings_in(tmp_path, database_url), clock) as access:
        principal = Principal("k", "t", SCOPES, requests_per_minute=10)
        assert _admitted(access, principal, 25) == 10
        clock.wall_ms += 15_500
        with pytest.raises(TooManyRequests, match="10 requests per minute; try again in 45 s") as caught:
            access.admit(principal, "default", "runsync", 5)
        assert caught.value.retry_after_s == 45
        assert _admitted(access, Principal("other", "t", SCOPES, requests_per_minute=10), 25) == 10
        clock.wall_ms = NOON_MS + 60_000
        assert _admitted(access, principal, 25) == 10


async def test_looking_after_jobs_is_no_request_of_a_key(tmp_path: Path, database_url: str) -> None:
    async with serving(settings_in(tmp_path, database_url), TurnedClock()) as access:
        principal = Principal("k", "t", SCOPES, requests_per_minute=1)
        for verb in ("status", "status-sync", "stream", "cancel", "health"):
            assert _admitted(access, principal, 50, verb) == 50
        assert _admitted(access, principal, 5, "runsync") == 1


async def test_characters_per_day_refuse_what_does_not_fit_and_admit_what_does(
    tmp_path: Path, database_url: str
) -> None:
    clock = TurnedClock()
    async with serving(settings_in(tmp_path, database_url), clock) as access:
        principal = Principal("k", "t", SCOPES, characters_per_day=100)
        access.admit(principal, "default", "run", 70)
        with pytest.raises(TooManyRequests, match="100 characters spoken per day; 30 are left, 31 were asked for"):
            access.admit(principal, "default", "run", 31)
        access.admit(principal, "default", "run", 30)
        with pytest.raises(TooManyRequests) as caught:
            access.admit(principal, "default", "run", 1)
        assert caught.value.retry_after_s == 12 * 3600
        clock.wall_ms += 12 * 3600 * 1000
        access.admit(principal, "default", "run", 100)


async def test_a_refused_request_counts_nowhere(tmp_path: Path, database_url: str) -> None:
    async with serving(settings_in(tmp_path, database_url), TurnedClock()) as access:
        principal = Principal("k", "t", SCOPES, requests_per_minute=3, characters_per_day=100)
        assert _admitted(access, principal, 10, characters=101) == 0
        assert _admitted(access, principal, 10, characters=1) == 3


async def test_runpods_figures_hold_per_endpoint_and_verb(tmp_path: Path, database_url: str) -> None:
    clock = TurnedClock()
    async with serving(settings_in(tmp_path, database_url, limits="runpod"), clock) as access:
        principal = Principal("k", "t", SCOPES)
        assert _admitted(access, principal, 1100, "run") == 1000
        assert _admitted(access, principal, 2100, "runsync") == 2000
        assert _admitted(access, principal, 2100, "status") == 2000
        assert _admitted(access, principal, 150, "cancel") == 100
        assert _admitted(access, principal, 5, "purge-queue") == 2
        assert _admitted(access, principal, 3000, "health") == 3000
        access.admit(principal, "another-endpoint", "run", 0)
        access.admit(Principal("k2", "another-tenant", SCOPES), "default", "run", 0)
        with pytest.raises(TooManyRequests, match="takes 1000 /run requests per 10 seconds; try again in 10 s"):
            access.admit(principal, "default", "run", 0)
        clock.wall_ms += 10_000
        assert _admitted(access, principal, 1100, "run") == 1000


async def test_made_up_endpoints_share_the_limits_of_one_and_its_rows(tmp_path: Path) -> None:
    async with running(tmp_path, limits="runpod") as caller:

        async def asked(endpoint: str, verb: str = "requests") -> int:
            return (await caller.http.get(f"/v2/{endpoint}/{verb}")).status_code

        answers = [await asked(f"made-up-{n}") for n in range(30)]
        assert answers.count(200) == 10
        refused = await caller.http.get("/v2/made-up-99/requests")
        assert "endpoints that nobody made take 10 /requests" in refused.json()["error"]
        assert "voxgate endpoints create" in refused.json()["error"]
        assert await asked("default") == 200  # which has limits of its own
        assert [await asked(f"made-up-{n}", "status/no-such-job") for n in range(300)] == [404] * 300
        await asyncio.sleep(0.2)
        windows = rows(tmp_path, "SELECT DISTINCT key_id, window FROM limit_windows")
        assert 1 <= len(windows) <= 3


async def test_windows_that_are_over_leave_within_minutes_but_those_of_days(tmp_path: Path, database_url: str) -> None:
    settings, clock = settings_in(tmp_path, database_url, limits="runpod"), TurnedClock()
    principal = Principal("k", "t", SCOPES, requests_per_minute=100, characters_per_day=1000)
    async with serving(settings, clock) as access:
        for _ in range(5):
            access.admit(principal, "default", "run", 10)
            await asyncio.sleep(0.1)
            clock.wall_ms += 60_000
        clock.wall_ms += 600_000
        windows = 'SELECT DISTINCT "window" FROM limit_windows'
        await until(lambda: select(database_url, windows) == [("characters/day",)])


async def test_two_servers_share_one_limit(tmp_path: Path, database_url: str) -> None:
    settings, clock = settings_in(tmp_path, database_url), TurnedClock()
    principal = Principal("k", "t", SCOPES, requests_per_minute=100)
    async with serving(settings, clock) as one, serving(settings, clock) as two:
        admitted = 0
        for _ in range(90):
            admitted += _admitted(one, principal, 1) + _admitted(two, principal, 1)
            await asyncio.sleep(0.02)
        # What a server may be ahead of the database by: requests of one round trip, which takes its time on a busy
        # machine; and behind: one unused share. Each by itself they would have let in all 180.
        assert 90 <= admitted <= 130
        for server in (one, two):
            await until(lambda server=server: _admitted(server, principal, 5) == 0)


async def test_a_server_that_starts_again_does_not_begin_the_limit_again(tmp_path: Path, database_url: str) -> None:
    settings, clock = settings_in(tmp_path, database_url), TurnedClock()
    principal = Principal("k", "t", SCOPES, characters_per_day=1000)
    async with serving(settings, clock) as access:
        assert _admitted(access, principal, 1, characters=1000) == 1
        async with opened(settings) as database:
            store = UsageStore(database)

            async def leased() -> bool:
                return await store.take_share("k", "characters/day", NOON_MS // 86_400_000 * 86_400_000, 1, 1000) == 0

            await until(leased)
    async with serving(settings, clock) as access:
        _admitted(access, principal, 1, characters=1)
        await until(lambda: _admitted(access, principal, 1, characters=1) == 0)


async def test_a_clock_that_jumps_back_gives_nothing_twice(tmp_path: Path, database_url: str) -> None:
    clock = TurnedClock()
    async with serving(settings_in(tmp_path, database_url), clock) as access:
        principal = Principal("k", "t", SCOPES, requests_per_minute=40)
        assert _admitted(access, principal, 40) == 40
        await asyncio.sleep(0.2)
        clock.wall_ms += 60_000
        assert _admitted(access, principal, 1) == 1
        clock.wall_ms -= 60_000
        _admitted(access, principal, 1)
        await until(lambda: _admitted(access, principal, 1) == 0)


async def test_while_the_database_is_locked_a_server_keeps_the_limit_by_itself(
    tmp_path: Path, database_url: str
) -> None:
    settings, clock = settings_in(tmp_path, database_url), TurnedClock()
    async with serving(settings, clock) as access:
        with locked_by_another(database_url):
            principal = Principal("k", "t", SCOPES, requests_per_minute=10)
            assert _admitted(access, principal, 5) == 5
            await asyncio.sleep(0.05)
            assert _admitted(access, principal, 25) == 5


async def test_shares_of_a_limit_never_add_up_to_more_than_it(tmp_path: Path, database_url: str) -> None:
    settings = settings_in(tmp_path, database_url)
    async with opened(settings) as one, opened(settings) as two:
        stores = [UsageStore(one), UsageStore(two)]
        granted = await asyncio.gather(*(stores[n % 2].take_share("k", "w", 0, 7, 100) for n in range(30)))
        assert sum(granted) == 100
        assert await stores[0].take_share("k", "w", 60_000, 7, 100) == 7
        await stores[0].prune_windows(60_000)
        assert await stores[0].take_share("k", "w", 0, 7, 100) == 7
        assert await stores[0].take_share("k", "w", 60_000, 100, 100) == 93


async def test_runpods_figures_hold_for_requests_at_a_time(tmp_path: Path, database_url: str) -> None:
    async with serving(settings_in(tmp_path, database_url, limits="runpod"), TurnedClock()) as access:
        principal = Principal("k", "t", SCOPES)
        leaves = [access.enter(principal, "default", "cancel") for _ in range(20)]
        with pytest.raises(TooManyRequests, match="answers 20 /cancel requests at a time; try again in 1 s"):
            access.enter(Principal("k2", "t", SCOPES), "default", "cancel")
        others = [(principal, "another-endpoint", "cancel"), (principal, "default", "run")]
        for other in [*others, (Principal("k3", "another-tenant", SCOPES), "default", "cancel")]:
            assert access.enter(*other) is not None
        assert leaves[0] is not None
        leaves[0]()
        assert access.enter(principal, "default", "cancel") is not None
        assert access.enter(principal, "default", "health") is None
