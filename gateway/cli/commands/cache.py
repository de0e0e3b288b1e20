"""`voxgate cache`: shows and prunes finished audio."""

from __future__ import annotations

import re
from typing import Annotated

import click
from msgspec import Meta

from gateway.cli.output import echo_json, echo_table, format_bytes, format_time, json_option
from gateway.cli.prepared import with_database
from gateway.clock import SystemClock
from gateway.errors import BadRequest
from gateway.settings.values import InvalidValue, convert
from storage.cache_entries import CacheStats, CacheStore

_AGE = re.compile(r"([0-9]+)\s*([hdw])")
_MOST_BYTES = 10**18  # fits a 64-bit integer of the database
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
            (share.backend, share.entries, format_bytes(share.size_bytes), share.hits, format_time(share.oldest_ms))
            for share in stats.backends
        ],
        empty="the cache is empty",
    )


@cache.command()
@click.option("--unused-for", help="Only entries not asked for in this time: 12h, 30d, 4w.")
@click.option("--backend", help="Only entries of this backend.")
@click.option("--tenant", help="Only entries of this tenant.")
@click.option("--to-bytes", help="Only the least recently used, until at most this much is left: 500MB, 2GB.")
@click.option("--all", "everything", is_flag=True, help="Every entry.")
@json_option
def prune(
    unused_for: str | None,
    backend: str | None,
    tenant: str | None,
    to_bytes: str | None,
    everything: bool,
    as_json: bool,
) -> None:
    """Remove cache entries, on every running server within a second. A server's sweep deletes their files after
    `cache.blob_grace_s`. Several options remove only entries that match all; with `--backend` or `--tenant`,
    `--to-bytes` counts only their entries."""
    if everything == bool(unused_for or backend or tenant or to_bytes):
        raise BadRequest("choose what to remove: --unused-for, --backend, --tenant, --to-bytes, or --all alone")
    since = None if unused_for is None else max(0, SystemClock().now_ms() - _age_ms(unused_for))
    left = None if to_bytes is None else _bytes(to_bytes)
    count = with_database(
        lambda database, settings: CacheStore(database).prune(
            backend=backend, tenant=tenant, unused_since_ms=since, to_bytes=left
        )
    )
    if as_json:
        echo_json({"removed": count})
    else:
        click.echo(f"{count} entries removed")


def _age_ms(given: str) -> int:
    age = _AGE.fullmatch(given.strip().lower())
    if age is None:
        raise BadRequest(f"{given!r} is not a time span; write a number and h, d or w, such as 30d")
    return int(age[1]) * _UNIT_MS[age[2]]


def _bytes(given: str) -> int:
    try:
        size: int = convert(given, Annotated[int, Meta(ge=0, le=_MOST_BYTES)], is_text=True, is_size=True)
    except InvalidValue as error:
        raise BadRequest(f"{given!r} is not a size; write bytes, or a number and kB, MB or GB, such as 2GB") from error
    return size
