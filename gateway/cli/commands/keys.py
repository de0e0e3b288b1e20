"""`voxgate keys`: makes, lists, rotates and revokes API keys."""

from __future__ import annotations

import datetime
import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from gateway.access.keys import Keys, NewKey, is_old, state_of
from gateway.access.principal import ENVIRONMENTS, SCOPES, Environment
from gateway.access.signing import write_private
from gateway.cli.output import echo_json, echo_table, format_time, json_option
from gateway.cli.prepared import with_database
from gateway.clock import SystemClock
from gateway.errors import BadRequest, Conflict, Unavailable
from gateway.settings import Settings
from storage.db.database import Database
from storage.keys import KeyRecord, KeyStore

T = TypeVar("T")

_SPAN = re.compile(r"([0-9]+)\s*([mhdwy])")
_UNIT_S = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}

_show_option = click.option("--show", is_flag=True, help="Print the key even if the output is not a terminal.")
_output_option = click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Write the key to this new file, for this user only."
)


@click.group()
def keys() -> None:
    """Make, list, rotate and revoke API keys."""


@keys.command()
@click.option("--tenant", default="default", show_default=True, help="The tenant that owns its jobs, usage and cache.")
@click.option("--env", type=click.Choice(ENVIRONMENTS), default="dev", show_default=True, help="Shown in the key.")
@click.option("--scope", "scopes", multiple=True, default=("speak",), show_default=True,
              help=f"Permission; may be repeated: {', '.join(SCOPES)}.")  # fmt: skip
@click.option("--name", default="", help="A note for people.")
@click.option("--expires", help="The key's end: 90d, 12h, or a date such as 2027-01-31 (UTC).")
@click.option("--requests-per-minute", type=int, help="Limit of requests per minute, over all servers.")
@click.option("--characters-per-day", type=int, help="Limit of characters per UTC day, over all servers.")
@_show_option
@_output_option
@json_option
def create(
    tenant: str,
    env: Environment,
    scopes: tuple[str, ...],
    name: str,
    expires: str | None,
    requests_per_minute: int | None,
    characters_per_day: int | None,
    show: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    """Make a key and show it once.

    The key is printed on a terminal only; otherwise it is written to a file that only this user can read: --output,
    or `keys/ID.key` in the data folder.
    """
    expires_ms = None if expires is None else _parse_end(expires)
    _make_key(
        lambda service: service.create(
            tenant=tenant,
            env=env,
            scopes=scopes,
            name=name,
            expires_ms=expires_ms,
            requests_per_minute=requests_per_minute,
            characters_per_day=characters_per_day,
        ),
        show,
        output,
        as_json,
    )


@keys.command(name="list")
@click.option("--tenant", help="Only the keys of this tenant.")
@json_option
def list_keys(tenant: str | None, as_json: bool) -> None:
    """List keys by their public ids; secrets are not stored."""
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
                format_time(record.created_ms),
                format_time(record.expires_ms),
                format_time(record.last_used_ms),
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
@_show_option
@_output_option
@json_option
def rotate(key_id: str, overlap: str, show: bool, output: Path | None, as_json: bool) -> None:
    """Replace a key with a new one that has the same tenant, scopes and limits.

    The new key is printed or written to a file as by `keys create`.
    """
    _make_key(lambda service: service.rotate(key_id, _span_s(overlap)), show, output, as_json)


@keys.command()
@click.argument("key_id")
def revoke(key_id: str) -> None:
    """Revoke a key; every server refuses it within a second."""
    record = _with_keys(lambda service: service.revoke(key_id))
    click.echo(f"revoked {record.id}")


def _with_keys(use: Callable[[Keys], Awaitable[T]]) -> T:
    return with_database(lambda database, settings: use(Keys(KeyStore(database), SystemClock())))


def _make_key(make: Callable[[Keys], Awaitable[NewKey]], show: bool, output: Path | None, as_json: bool) -> None:
    """Make a key; print it on a terminal or with `--show`, else write it to a private file.

    A key printed into a pipe would end up in the logs of the program that ran the command.
    """
    if show and output is not None:
        raise BadRequest("--show prints the key and --output writes it to a file; use only one of them")
    if output is not None and output.exists():
        raise Conflict(f"--output {str(output)!r} already exists; name a new file")
    printed = output is None and (show or sys.stdout.isatty())

    async def make_and_write(database: Database, settings: Settings) -> tuple[NewKey, Path | None]:
        made = await make(Keys(KeyStore(database), SystemClock()))
        return made, None if printed else _write_key(
            made, output or settings.data_dir / "keys" / f"{made.record.id}.key"
        )

    made, path = with_database(make_and_write)
    if as_json:
        where = {"key": made.secret} if path is None else {"key_file": str(path)}
        echo_json({**where, **_document(made.record, made.record.created_ms)})
    elif path is None:
        click.echo(made.secret)
        click.echo("this key is shown once: store it with your app's secrets", err=True)
    else:
        click.echo(f"key {made.record.id} is in {path}, which only this user can read (--show prints it)", err=True)


def _write_key(made: NewKey, path: Path) -> Path:
    try:
        if write_private(path, made.secret):
            return path
        reason = "the file already exists"
    except OSError as error:
        reason = str(error.strerror)
    key = made.record.id
    raise Unavailable(f"the key could not be written to {path} ({reason}); revoke it: voxgate keys revoke {key}")


def _document(record: KeyRecord, now: int) -> dict[str, object]:
    document = msgspec.structs.asdict(record)
    del document["digest"]
    return {**document, "scopes": record.scopes.split(), "state": state_of(record, now)}


def _parse_end(given: str) -> int:
    """Parse a key's end into UTC milliseconds; a span counts from now, a date means its first moment."""
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
        raise BadRequest(f"{given!r} is not a time span; write a number and m, h, d, w or y, such as 24h")
    return int(span[1]) * _UNIT_S[span[2]]
