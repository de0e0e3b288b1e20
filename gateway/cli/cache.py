"""`voxgate cache`: finished audio."""

from __future__ import annotations

import re

import click

from gateway.cli.output import echo_json, echo_table, in_bytes, json_option, when
from gateway.cli.prepared import with_database
from gateway.clock import SystemClock
from gateway.errors import BadRequest
from storage.cache_entries import CacheStats, CacheStore

_AGE = re.compile(r"([0-9]+)\s*([hdw])")
_UNIT_MS = {"h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}


@click.group()
def cache() -> None:
    """Show and prune finished audio."""


@cache.command()
@json_option
def show(as_json: bool) -> None:
    """Show how much finished audio is kept, by backend."""

    stats: CacheStats = with_database(lambda database, settings: CacheStore(database).stats())
    if as_json:
        echo_json(stats)
        return
    echo_table(
        ("backend", "entries", "size", "hits", "oldest"),
        [
            (share.backend, share.entries, in_bytes(share.size_bytes), share.hits, when(share.oldest_ms))
            for share in stats.backends
        ],
        empty="the cache is empty",
    )


@cache.command()
@click.option("--unused-for", help="Only what nobody asked for in so long: 12h, 30d, 4w.")
@click.option("--backend", help="Only what this backend spoke.")
@click.option("--tenant", help="Only what this tenant owns.")
@click.option("--all", "everything", is_flag=True, help="All of it.")
@json_option
def prune(unused_for: str | None, backend: str | None, tenant: str | None, everything: bool, as_json: bool) -> None:
    """Forget finished audio, on every running server within a second; its files go at a server's next sweep, after
    `cache.blob_grace_s`."""
    if everything == bool(unused_for or backend or tenant):
        raise BadRequest("say what to forget: --unused-for, --backend, --tenant, or --all alone")
    since = None if unused_for is None else SystemClock().now_ms() - _age_ms(unused_for)
    keys = with_database(
        lambda database, settings: CacheStore(database).prune(backend=backend, tenant=tenant, unused_since_ms=since)
    )
    if as_json:
        echo_json({"removed": len(keys)})
    else:
        click.echo(f"{len(keys)} entries forgotten")


def _age_ms(given: str) -> int:
    age = _AGE.fullmatch(given.strip().lower())
    if age is None:
        raise BadRequest(f"{given!r} is no span: a number and h, d or w, such as 30d")
    return int(age[1]) * _UNIT_MS[age[2]]
