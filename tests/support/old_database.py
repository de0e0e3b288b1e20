"""Makes a database of the first release, with rows in every table."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import command

from storage.db import migrate
from storage.db.database import make_engine, parse_url
from storage.records import JobState

FIRST = "0001"
ROWS = 12
"""Rows in each table; a multiple of the number of states."""
Rows = dict[str, list[dict[str, Any]]]

_SPECIAL = {
    ("jobs", "state"): [state.value for state in JobState],
    ("jobs", "kind"): ["run", "runsync"],
    ("jobs", "endpoint_id"): ["default", "news"],
}


def make_old(url: str) -> None:
    """Migrate the empty database of this URL to the first revision."""
    engine = make_engine(parse_url(url), write=True)
    with engine.begin() as connection:
        config = migrate._config()
        config.attributes["connection"] = connection
        command.upgrade(config, FIRST)
    engine.dispose()


def fill_every_table(url: str) -> None:
    """Put rows into every table, with any columns; foreign keys refer to other rows."""
    engine = make_engine(parse_url(url), write=True)
    with engine.begin() as connection:
        for table in _tables(connection).sorted_tables:
            if table.name != "alembic_version":
                connection.execute(table.insert(), [_row(table, n) for n in range(ROWS)])
    engine.dispose()


def rows_of(url: str) -> Rows:
    """Return every row of every table, except the revision."""
    engine = make_engine(parse_url(url), write=False)
    with engine.connect() as connection:
        rows = {
            table.name: [
                dict(row) for row in connection.execute(table.select().order_by(*table.primary_key)).mappings()
            ]
            for table in _tables(connection).sorted_tables
            if table.name != "alembic_version"
        }
    engine.dispose()
    return rows


def _tables(connection: sa.Connection) -> sa.MetaData:
    metadata = sa.MetaData()
    metadata.reflect(connection)
    return metadata


def _row(table: sa.Table, n: int) -> dict[str, Any]:
    return {column.name: _value(table, column, n) for column in table.columns}


def _value(table: sa.Table, column: sa.Column[Any], n: int) -> Any:
    """Return the n-th value of a column; for a foreign key the value of the n-th row it refers to."""
    if column.foreign_keys:
        (key,) = column.foreign_keys
        return _value(key.column.table, key.column, n)
    if (table.name, column.name) in _SPECIAL:
        values = _SPECIAL[table.name, column.name]
        return values[n % len(values)]
    if isinstance(column.type, sa.Boolean):
        return n % 2 == 1
    if isinstance(column.type, sa.Float):
        return n + 0.5
    return n + 1 if isinstance(column.type, sa.Integer) else f"{table.name} {column.name} {n}"
