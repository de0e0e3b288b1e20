from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.access import NOON_MS, TurnedClock, opened, serving, settings_in, until
from support.after import rows
from support.running import running
from support.storage import locked_by_another, select

from gateway.access import Access, Principal
from gateway.access.limits import SHARES
from gateway.errors import TooManyRequests
from storage.usage import Share, Taken, UsageStore

SCOPES = frozenset({"speak"})


async def _admitted(access: Access, principal: Principal, times: int, verb: str = "run", characters: int = 0) -> int:
    admitted = 0
    for _ in range(times):
        try:
            await access.admit(principal, "default", verb, characters)
        except TooManyRequests:
            continue
        admitted += 1
    return admitted


async def test_without_limits_everything_is_admitted(tmp_path: Path, database_url: str) -> None:
    async with serving(settings_in(tmp_path, database_url), TurnedClock()) as access:
        assert await _admitted(access, Principal("k", "t", SCOPES), 5000, characters=10_000) == 5000


async def test_requests_per_minute_are_exact_and_come_back_with_the_next_minute(
    tmp_path: Path, database_url: str
) -> None:
    clock = TurnedClock()
    async with serving(settings_in(tmp_path, database_url), clock) as access:
        principal = Principal("k", "t", SCOPES, requests_per_minute=10)
        assert await _admitted(access, principal, 25) == 10
        clock.wall_ms += 15_500
        with pytest.raises(TooManyRequests, match="10 requests per minute; try again in 45 s") as caught:
            await access.admit(principal, "default", "runsync", 5)
        assert caught.value.retry_after_s == 45
        assert await _admitted(access, Principal("other", "t", SCOPES, requests_per_minute=10), 25) == 10
        clock.wall_ms = NOON_MS + 60_000
        assert await _admitted(access, principal, 25) == 10


async def test_looking_after_jobs_is_no_request_of_a_key(tmp_path: Path, database_url: str) -> None:
    async with serving(settings_in(tmp_path, database_url), TurnedClock()) as access:
        principal = Principal("k", "t", SCOPES, requests_per_minute=1)
        for verb in ("status", "status-sync", "stream", "cancel", "health"):
            assert await _admitted(access, principal, 50, verb) == 50
        assert await _admitted(access, principal, 5, "runsync") == 1


async def test_characters_per_day_refuse_what_does_not_fit_and_admit_what_does(
    tmp_path: Path, database_url: str
) -> None:
    clock = TurnedClock()
    async with serving(settings_in(tmp_path, database_url), clock) as access:
        principal = Principal("k", "t", SCOPES, characters_per_day=100)
        await access.admit(principal, "default", "run", 70)
        with pytest.raises(TooManyRequests, match="100 characters spoken per day; 30 are left, 31 were asked for"):
            await access.admit(principal, "default", "run", 31)
        await access.admit(principal, "default", "run", 30)
        with pytest.raises(TooManyRequests) as caught:
            await access.admit(principal, "default", "run", 1)
        assert caught.value.retry_after_s == 12 * 3600
        clock.wall_ms += 12 * 3600 * 1000
        await access.admit(principal, "default", "run", 100)


async def test_a_refused_request_counts_nowhere(tmp_path: Path, database_url: str) -> None:
    async with serving(settings_in(tmp_path, database_url), TurnedClock()) as access:
        principal = Principal("k", "t", SCOPES, requests_per_minute=3, characters_per_day=100)
        assert await _admitted(access, principal, 10, characters=101) == 0
        assert await _admitted(access, principal, 10, characters=1) == 3


async def test_runpods_figures_hold_per_endpoint_and_verb(tmp_path: Path, database_url: str) -> None:
    clock = TurnedClock()
    async with serving(settings_in(tmp_path, database_url, limits="runpod"), clock) as access:
        principal = Principal("k", "t", SCOPES)
        assert await _admitted(access, principal, 1100, "run") == 1000
        assert await _admitted(access, principal, 2100, "runsync") == 2000
        assert await _admitted(access, principal, 2100, "status") == 2000
        assert await _admitted(access, principal, 150, "cancel") == 100
        assert await _admitted(access, principal, 5, "purge-queue") == 2
        assert await _admitted(access, principal, 3000, "health") == 3000
        await access.admit(principal, "another-endpoint", "run", 0)
        await access.admit(Principal("k2", "another-tenant", SCOPES), "default", "run", 0)
        with pytest.raises(TooManyRequests, match="takes 1000 /run requests per 10 seconds; try again in 10 s"):
            await access.admit(principal, "default", "run", 0)
        clock.wall_ms += 10_000
        assert await _admitted(access, principal, 1100, "run") == 1000


async def test_made_up_endpoints_share_the_limits_of_one_and_its_rows(tmp_path: Path) -> None:
    async with running(tmp_path, limits="runpod") as caller:

        async def asked(endpoint: str, verb: str = "requests") -> int:
            return (await caller.http.get(f"/v2/{endpoint}/{verb}")).status_code

        answers = [await asked(f"made-up-{n}") for n in range(30)]
        assert 10 <= answers.count(200) <= 20  # as many again where ten seconds were over meanwhile
        refused = await caller.http.get("/v2/made-up-99/requests")
        assert "endpoints that were not created take 10 /requests" in refused.json()["error"]
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
            await access.admit(principal, "default", "run", 10)
            await asyncio.sleep(0.1)
            clock.wall_ms += 60_000
        clock.wall_ms += 600_000
        windows = 'SELECT DISTINCT "window" FROM limit_windows'
        await until(lambda: select(database_url, windows) == [("characters/day",)])


async def _all_at_once(servers: tuple[Access, ...], principal: Principal, times: int, characters: int = 0) -> int:
    """Send `times` requests at once to each server; return the number admitted."""
    asked = (_admitted(server, principal, 1, characters=characters) for _ in range(times) for server in servers)
    return sum(await asyncio.gather(*asked))


async def test_two_servers_let_in_what_a_small_limit_says_and_not_one_more(tmp_path: Path, database_url: str) -> None:
    settings, clock = settings_in(tmp_path, database_url), TurnedClock()
    async with serving(settings, clock) as one, serving(settings, clock) as two:
        both = (one, two)
        for limit in (1, 5, 100, 999):
            principal = Principal(f"k{limit}", "t", SCOPES, requests_per_minute=limit)
            assert await _all_at_once(both, principal, limit) == limit
        by_turns = Principal("k", "t", SCOPES, requests_per_minute=5)
        assert [await _admitted(both[n % 2], by_turns, 1) for n in range(12)] == [1] * 5 + [0] * 7
        assert await _all_at_once(both, Principal("d", "t", SCOPES, characters_per_day=100), 20, characters=7) == 14
        last = Principal("d", "t", SCOPES, characters_per_day=100)
        with pytest.raises(TooManyRequests, match="2 are left, 3 were asked for"):
            await two.admit(last, "default", "run", 3)
        assert await _admitted(one, last, 1, characters=2) == 1


async def test_two_servers_never_pass_a_large_limit_and_stop_short_of_it_by_a_share_at_most(
    tmp_path: Path, database_url: str
) -> None:
    settings, clock = settings_in(tmp_path, database_url), TurnedClock()
    async with serving(settings, clock) as one, serving(settings, clock) as two:
        principal = Principal("k", "t", SCOPES, requests_per_minute=2000)
        assert await _admitted(two, principal, 1) == 1  # and holds on to the rest of its share
        admitted = 1 + await _admitted(one, principal, 3000)
        assert 2000 - 2000 // SHARES * 2 <= admitted <= 2000
        assert admitted + await _admitted(two, principal, 3000) == 2000


async def test_a_request_that_one_limit_refuses_takes_nothing_of_another_at_any_server(
    tmp_path: Path, database_url: str
) -> None:
    settings, clock = settings_in(tmp_path, database_url), TurnedClock()
    async with serving(settings, clock) as one, serving(settings, clock) as two:
        principal = Principal("k", "t", SCOPES, requests_per_minute=3, characters_per_day=100)
        assert await _admitted(one, principal, 1, characters=60) == 1
        assert await _all_at_once((one, two), principal, 10, characters=50) == 0
        assert [await _admitted(server, principal, 1, characters=10) for server in (two, one, two)] == [1, 1, 0]


async def test_what_is_within_a_share_is_let_in_from_memory_alone(tmp_path: Path, database_url: str) -> None:
    async with serving(settings_in(tmp_path, database_url), TurnedClock()) as access:
        assert access.admit_now(Principal("k", "t", SCOPES), "default", "run", 10_000)
        small = Principal("small", "t", SCOPES, requests_per_minute=5)
        large = Principal("large", "t", SCOPES, requests_per_minute=50_000)
        assert not access.admit_now(small, "default", "run") and not access.admit_now(large, "default", "run")
        await access.admit(large, "default", "run")
        with locked_by_another(database_url):
            assert all(access.admit_now(large, "default", "run") for _ in range(900))


async def test_a_server_that_starts_again_does_not_begin_the_limit_again(tmp_path: Path, database_url: str) -> None:
    settings, clock = settings_in(tmp_path, database_url), TurnedClock()
    principal = Principal("k", "t", SCOPES, characters_per_day=1000)
    async with serving(settings, clock) as access:
        assert await _admitted(access, principal, 1, characters=1000) == 1
    async with serving(settings, clock) as access:
        assert await _admitted(access, principal, 1, characters=1) == 0


async def test_a_clock_that_jumps_back_gives_nothing_twice(tmp_path: Path, database_url: str) -> None:
    clock = TurnedClock()
    async with serving(settings_in(tmp_path, database_url), clock) as access:
        principal = Principal("k", "t", SCOPES, requests_per_minute=40)
        assert await _admitted(access, principal, 40) == 40
        clock.wall_ms += 60_000
        assert await _admitted(access, principal, 1) == 1
        clock.wall_ms -= 60_000
        assert await _admitted(access, principal, 1) == 0


async def test_while_the_database_is_locked_a_server_keeps_the_limit_by_itself(
    tmp_path: Path, database_url: str
) -> None:
    settings, clock = settings_in(tmp_path, database_url), TurnedClock()
    async with serving(settings, clock) as access:
        with locked_by_another(database_url):
            principal = Principal("k", "t", SCOPES, requests_per_minute=10)
            assert await _admitted(access, principal, 5) == 5
            assert await _admitted(access, principal, 25) == 5
        async with asyncio.timeout(20):  # what was let in meanwhile is made known
            while not select(database_url, "SELECT 1 FROM limit_windows WHERE used = 10"):
                await asyncio.sleep(0.02)


async def test_shares_of_a_limit_never_add_up_to_more_than_it(tmp_path: Path, database_url: str) -> None:
    settings = settings_in(tmp_path, database_url)

    def share(need: int, more: int, start_ms: int = 0) -> list[Share]:
        return [Share("k", "w", start_ms, need, more, 100)]

    async with opened(settings) as one, opened(settings) as two:
        stores = [UsageStore(one), UsageStore(two)]
        taken = await asyncio.gather(*(stores[n % 2].take_shares(share(1, 6)) for n in range(30)))
        assert sum(part for each in taken if each.granted for part in each.granted) == 100
        assert await stores[0].take_shares(share(7, 0, 60_000)) == Taken((7,), (93,))
        await stores[0].prune_windows(60_000)
        assert await stores[0].take_shares(share(7, 0)) == Taken((7,), (93,))
        assert await stores[0].take_shares(share(0, 100, 60_000)) == Taken((93,), (0,))
        assert await stores[0].take_shares(share(1, 0, 60_000)) == Taken(None, (0,))


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
