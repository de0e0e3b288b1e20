"""`voxgate keys`: who may call."""

from __future__ import annotations

import datetime
import re
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click
import msgspec

from gateway.access.keys import Keys, NewKey, is_old, state_of
from gateway.access.principal import ENVIRONMENTS, SCOPES, Environment
from gateway.cli.output import echo_json, echo_table, json_option, when
from gateway.cli.prepared import with_database
from gateway.clock import SystemClock
from gateway.errors import BadRequest
from storage.keys import KeyRecord, KeyStore

T = TypeVar("T")

_SPAN = re.compile(r"([0-9]+)\s*([mhdwy])")
_UNIT_S = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}


@click.group()
def keys() -> None:
    """Make, list, rotate and revoke API keys."""


@keys.command()
@click.option("--tenant", default="default", show_default=True, help="Who owns its jobs, usage and cache.")
@click.option("--env", type=click.Choice(ENVIRONMENTS), default="dev", show_default=True, help="Shown in the key.")
@click.option("--scope", "scopes", multiple=True, default=("speak",), show_default=True,
              help=f"What it may do; may be repeated: {', '.join(SCOPES)}.")  # fmt: skip
@click.option("--name", default="", help="For people.")
@click.option("--expires", help="From when it is refused: 90d, 12h, or a date such as 2027-01-31 (UTC).")
@click.option("--requests-per-minute", type=int, help="The most it may ask for, over all servers.")
@click.option("--characters-per-day", type=int, help="The most it may have spoken per UTC day, over all servers.")
@json_option
def create(
    tenant: str,
    env: Environment,
    scopes: tuple[str, ...],
    name: str,
    expires: str | None,
    requests_per_minute: int | None,
    characters_per_day: int | None,
    as_json: bool,
) -> None:
    """Make a key and show it, once."""
    expires_ms = None if expires is None else _end(expires)
    made = _with_keys(
        lambda service: service.create(
            tenant=tenant,
            env=env,
            scopes=scopes,
            name=name,
            expires_ms=expires_ms,
            requests_per_minute=requests_per_minute,
            characters_per_day=characters_per_day,
        )
    )
    _show_once(made, as_json)


@keys.command(name="list")
@click.option("--tenant", help="Only the keys of this tenant.")
@json_option
def list_keys(tenant: str | None, as_json: bool) -> None:
    """List keys by their public ids; secrets are not kept."""
    records = _with_keys(lambda service: service.list(tenant))
    now = SystemClock().now_ms()
    if as_json:
        echo_json([_document(record, now) for record in records])
        return
    echo_table(
        ("id", "tenant", "env", "scopes", "name", "state", "created", "expires", "last used", "req/min", "chars/day"),
        [
            (
                record.id,
                record.tenant,
                record.env,
                record.scopes,
                record.name,
                state_of(record, now) + (" (older than 90 days: rotate it)" if is_old(record, now) else ""),
                when(record.created_ms),
                when(record.expires_ms),
                when(record.last_used_ms),
                record.requests_per_minute,
                record.characters_per_day,
            )
            for record in records
        ],
        empty="no keys; make one: voxgate keys create",
    )


@keys.command()
@click.argument("key_id")
@click.option("--overlap", default="24h", show_default=True, help="How long the old key still works: 24h, 7d, 0m.")
@json_option
def rotate(key_id: str, overlap: str, as_json: bool) -> None:
    """Replace a key by a new one with the same tenant, scopes and limits."""
    _show_once(_with_keys(lambda service: service.rotate(key_id, _span_s(overlap))), as_json)


@keys.command()
@click.argument("key_id")
def revoke(key_id: str) -> None:
    """Refuse a key from now on; every server does so within a second."""
    record = _with_keys(lambda service: service.revoke(key_id))
    click.echo(f"revoked {record.id}")


def _with_keys(use: Callable[[Keys], Awaitable[T]]) -> T:
    return with_database(lambda database, settings: use(Keys(KeyStore(database), SystemClock())))


def _show_once(made: NewKey, as_json: bool) -> None:
    if as_json:
        echo_json({"key": made.secret, **_document(made.record, made.record.created_ms)})
        return
    click.echo(made.secret)
    click.echo("shown once: keep it where your app reads its secrets", err=True)


def _document(record: KeyRecord, now: int) -> dict[str, object]:
    document = msgspec.structs.asdict(record)
    del document["digest"]
    return {**document, "scopes": record.scopes.split(), "state": state_of(record, now)}


def _end(given: str) -> int:
    """When a key ends, UTC milliseconds; a span counts from now, a date ends as it begins."""
    if _SPAN.fullmatch(given.strip().lower()):
        return SystemClock().now_ms() + round(_span_s(given) * 1000)
    try:
        end = datetime.datetime.fromisoformat(given)
    except ValueError as error:
        raise BadRequest(f"--expires {given!r} is neither a span (90d, 12h) nor a date (2027-01-31)") from error
    return round((end if end.tzinfo else end.replace(tzinfo=datetime.UTC)).timestamp() * 1000)


def _span_s(given: str) -> float:
    span = _SPAN.fullmatch(given.strip().lower())
    if span is None:
        raise BadRequest(f"{given!r} is no span: a number and m, h, d, w or y, such as 24h")
    return int(span[1]) * _UNIT_S[span[2]]
