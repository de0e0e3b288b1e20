"""`voxgate usage`: sums what was spoken."""

from __future__ import annotations

from typing import get_args

import click
import msgspec

from gateway.access.usage import DAY_MS, day_of
from gateway.cli.output import echo_json, echo_table, json_option
from gateway.cli.prepared import with_database
from gateway.clock import SystemClock
from gateway.errors import BadRequest
from storage.usage import GroupBy, UsageStore, UsageTotal

_GROUPS: tuple[GroupBy, ...] = get_args(GroupBy)


@click.command()
@click.option("--tenant", help="Only this tenant.")
@click.option("--days", type=click.IntRange(1, 36_500), default=30, show_default=True,
              help="How far back, in UTC days.")  # fmt: skip
@click.option("--by", "groups", multiple=True, type=click.Choice(_GROUPS), default=("day", "tenant", "backend"),
              show_default=True, help="Group the sums by this; may be repeated.")  # fmt: skip
@json_option
def usage(tenant: str | None, days: int, groups: tuple[GroupBy, ...], as_json: bool) -> None:
    """Sum what was spoken by day, tenant, key, endpoint or backend."""
    if len(set(groups)) != len(groups):
        raise BadRequest("--by names a group twice; name each once")
    since = day_of(SystemClock().now_ms() - (days - 1) * DAY_MS)
    rows = with_database(lambda database, settings: UsageStore(database).report(tenant=tenant, since=since, by=groups))
    if as_json:
        echo_json([_document(row, groups) for row in rows])
        return
    echo_table(
        (*groups, "jobs", "cache hits", "characters", "audio", "cost"),
        [
            (
                *(getattr(row, name) for name in groups),
                row.jobs,
                row.cache_hits,
                row.characters,
                f"{row.audio_ms / 1000:.1f} s",
                f"{row.cost_usd:.4f} USD",
            )
            for row in rows
        ],
        empty=f"nothing was spoken since {since}",
    )


def _document(row: UsageTotal, groups: tuple[GroupBy, ...]) -> dict[str, object]:
    sums = {name: value for name, value in msgspec.structs.asdict(row).items() if name not in _GROUPS}
    del sums["cost_micro_usd"]
    return {**{name: getattr(row, name) for name in groups}, **sums, "cost_usd": row.cost_usd}
