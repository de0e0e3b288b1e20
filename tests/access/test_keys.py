from __future__ import annotations

import io
import re
import stat
from pathlib import Path

import pytest
from support.access import NOON_MS, TurnedClock, opened, serving, settings_in, until

from gateway.access import Access, Keys, is_old, state_of
from gateway.access.first_key import make_first_key
from gateway.errors import BadRequest, Conflict, Forbidden, NotFound, Unauthorized
from storage.keys import KeyStore

DAY_MS = 86_400_000


def _refused(access: Access, header: str | None) -> bool:
    try:
        access.authenticate(header)
    except Unauthorized as error:
        assert str(error) == "Unauthorized"
        return True
    return False


async def test_a_key_opens_with_and_without_bearer_and_nothing_else_does(tmp_path: Path, database_url: str) -> None:
    async with serving(settings_in(tmp_path, database_url), TurnedClock()) as access:
        new = await access.keys.create(tenant="acme", env="prod", scopes=("speak", "admin"))
        await access.refresh()
        assert re.fullmatch(r"vg_prod_[0-9a-f]{16}_[A-Za-z0-9]{40}", new.secret)
        for header in (f"Bearer {new.secret}", new.secret, f"bearer {new.secret}", f"Bearer  {new.secret} "):
            principal = access.authenticate(header)
            assert (principal.tenant, principal.key_id) == ("acme", new.record.id)
            assert principal.scopes == {"speak", "admin"}
        wrong = new.secret[:-1] + ("a" if new.secret[-1] != "a" else "b")
        other_env = new.secret.replace("vg_prod_", "vg_dev_")
        for header in (
            None,
            "",
            "Bearer",
            "Bearer ",
            "Basic abc",
            wrong,
            other_env,
            "vg_prod_x_y",
            "\udc80",
            "x" * 10_000,
        ):
            assert _refused(access, header), header


async def test_the_key_of_the_settings_may_have_any_form(tmp_path: Path, database_url: str) -> None:
    for own in ("letmein", "vg_prod_deadbeefdeadbeef_0123", "schlüssel"):
        async with serving(settings_in(tmp_path, database_url, api_key=own), TurnedClock()) as access:
            principal = access.authenticate(f"Bearer {own}")
            assert principal.tenant == "default"
            assert principal.scopes == {"speak", "voices", "compare", "admin"}
            assert _refused(access, own + "x")


async def test_no_secret_is_stored(tmp_path: Path, database_url: str) -> None:
    async with serving(settings_in(tmp_path, database_url), TurnedClock()) as access:
        new = await access.keys.create()
        (record,) = await access.keys.list()
    secret = new.secret.rpartition("_")[2]
    assert secret not in repr(record)
    assert secret not in repr(new)
    for file in tmp_path.iterdir():
        assert secret.encode() not in file.read_bytes()


async def test_a_key_is_refused_after_its_end(tmp_path: Path, database_url: str) -> None:
    clock = TurnedClock()
    async with serving(settings_in(tmp_path, database_url), clock) as access:
        new = await access.keys.create(expires_ms=NOON_MS + 1000)
        await access.refresh()
        assert not _refused(access, new.secret)
        clock.wall_ms += 1000
        assert _refused(access, new.secret)
        assert state_of(new.record, clock.now_ms()) == "expired"


async def test_a_rotated_key_works_until_the_overlap_ends_and_its_successor_has_its_rights(
    tmp_path: Path, database_url: str
) -> None:
    clock = TurnedClock()
    async with serving(settings_in(tmp_path, database_url), clock) as access:
        old = await access.keys.create(tenant="acme", scopes=("speak", "voices"), requests_per_minute=7)
        new = await access.keys.rotate(old.record.id, overlap_s=60)
        await access.refresh()
        assert access.authenticate(new.secret).tenant == "acme"
        assert access.authenticate(new.secret).scopes == {"speak", "voices"}
        assert access.authenticate(new.secret).requests_per_minute == 7
        assert new.record.rotated_from == old.record.id
        assert not _refused(access, old.secret)
        clock.wall_ms += 60_000
        assert _refused(access, old.secret)
        assert not _refused(access, new.secret)
        with pytest.raises(Conflict, match="is expired and cannot be rotated"):
            await access.keys.rotate(old.record.id)


async def test_a_revoked_key_is_refused_on_every_server_soon(tmp_path: Path, database_url: str) -> None:
    settings, clock = settings_in(tmp_path, database_url), TurnedClock()
    async with serving(settings, clock) as one, serving(settings, clock) as two:
        new = await one.keys.create()
        await until(lambda: not _refused(one, new.secret) and not _refused(two, new.secret))
        await two.keys.revoke(new.record.id)
        await until(lambda: _refused(one, new.secret) and _refused(two, new.secret))
        again = await two.keys.revoke(new.secret)
        assert again.revoked_ms == NOON_MS


async def test_messages_about_a_pasted_key_hold_no_secret(tmp_path: Path, database_url: str) -> None:
    async with serving(settings_in(tmp_path, database_url), TurnedClock()) as access:
        with pytest.raises(NotFound, match="no key 0123456789abcdef; see: voxgate keys list"):
            await access.keys.revoke("vg_prod_0123456789abcdef_secretsecret")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scopes": ("speek",)}, "unknown scope 'speek': did you mean speak?"),
        ({"scopes": ()}, "a key without a scope can do nothing"),
        ({"env": "production"}, "unknown environment 'production': choose one of dev, staging, prod"),
        ({"tenant": "a b"}, "a tenant is 1 to 64 letters"),
        ({"expires_ms": NOON_MS}, "expired from the start"),
        ({"expires_ms": 10**16}, "after the year 9999"),
        ({"characters_per_day": 10**25}, "characters per day must be between 1 and 1000000000000"),
        ({"requests_per_minute": 0}, "requests per minute must be between 1 and 1000000000000, got 0"),
    ],
)
async def test_a_key_that_cannot_be_is_not_made(
    tmp_path: Path, database_url: str, fields: dict[str, object], message: str
) -> None:
    async with serving(settings_in(tmp_path, database_url), TurnedClock()) as access:
        with pytest.raises(BadRequest) as caught:
            await access.keys.create(**fields)
        assert message in str(caught.value)
        assert await access.keys.list() == []


async def test_a_missing_scope_is_named(tmp_path: Path, database_url: str) -> None:
    async with serving(settings_in(tmp_path, database_url), TurnedClock()) as access:
        new = await access.keys.create(scopes=("speak", "voices"))
        await access.refresh()
        principal = access.authenticate(new.secret)
        access.require(principal, "speak")
        with pytest.raises(Forbidden, match=r"lacks the scope admin \(it has: speak, voices\)"):
            access.require(principal, "admin")


async def test_keys_are_old_after_ninety_days_and_show_when_they_were_used(tmp_path: Path, database_url: str) -> None:
    clock = TurnedClock()
    async with serving(settings_in(tmp_path, database_url), clock) as access:
        new = await access.keys.create(tenant="acme")
        await access.keys.create(tenant="other")
        await access.refresh()
        clock.wall_ms += 90 * DAY_MS
        access.authenticate(new.secret)
        assert not is_old(new.record, clock.now_ms())
        assert is_old(new.record, clock.now_ms() + 1)
        await access.stop()
        (record,) = await access.keys.list(tenant="acme")
        assert record.last_used_ms == clock.now_ms()


async def test_a_fresh_installation_gets_one_key_kept_in_a_private_file(
    tmp_path: Path, database_url: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_in(tmp_path, database_url)
    async with serving(settings, TurnedClock(), first_key=True) as access:
        file = tmp_path / "first.key"
        secret = file.read_text().strip()
        assert access.authenticate(secret).scopes == {"speak", "voices", "compare", "admin"}
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    async with serving(settings, TurnedClock(), first_key=True) as access:
        assert len(await access.keys.list()) == 1
        assert not _refused(access, secret)
    printed = capsys.readouterr()
    assert secret not in caplog.text + printed.out + printed.err


async def test_a_fresh_installation_shows_its_key_on_a_terminal_and_keeps_no_file(
    tmp_path: Path, database_url: str
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    settings, terminal = settings_in(tmp_path, database_url), Terminal()
    async with opened(settings) as database:
        store = KeyStore(database)
        keys = Keys(store, TurnedClock())
        assert await make_first_key(keys, store, settings, terminal)
        assert not await make_first_key(keys, store, settings, terminal)
        assert not await store.insert_first(keys.draft().record)
    assert len(re.findall(r"vg_dev_[0-9a-f]{16}_\w{40}", terminal.getvalue())) == 1
    assert not (tmp_path / "first.key").exists()


async def test_a_server_with_a_key_in_its_settings_makes_none(tmp_path: Path, database_url: str) -> None:
    async with serving(settings_in(tmp_path, database_url, api_key="letmein"), TurnedClock(), first_key=True) as access:
        assert await access.keys.list() == []
