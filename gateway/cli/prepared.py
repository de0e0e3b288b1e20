"""What a command needs before it works: settings, a data folder, a migrated database."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from gateway.engines.discovery import discover
from gateway.errors import SettingsError
from gateway.settings import Settings, load_settings
from gateway.settings.checks import check_start
from storage.db import migrate
from storage.db.database import Database, parse_url

T = TypeVar("T")


def settings_for(overrides: Mapping[str, Any] | None = None, *, listen: bool = False) -> Settings:
    """The settings, checked against this machine; makes the data folder.

    Args:
        overrides: flags by setting; None values are flags not given.
        listen: whether the port has to be free.

    Raises:
        SettingsError: one line: variable, value, cure.
    """
    settings = load_settings(overrides=overrides)
    check_start(settings, listen=listen)
    if lacking := missing_driver(settings):
        raise SettingsError(lacking)
    return settings


def missing_driver(settings: Settings) -> str:
    """What the database of these settings needs and Python cannot import, with the cure; "" where nothing is."""
    if not settings.database_url.startswith("postgresql"):
        return ""
    try:
        importlib.import_module("psycopg")
    except ImportError as error:  # not there, or there without the library of PostgreSQL that it needs
        reason = str(error).splitlines()[0].strip().rstrip(":.")
        return (
            f"{settings.origin('database.url')} needs the driver of PostgreSQL ({reason}); "
            "run: pip install 'voxgate[postgres]'"
        )
    return ""


def installed_names(settings: Settings) -> list[str]:
    """Every backend an installed package registers, usable or not.

    Raises:
        SettingsError: `plugins` names one that none does.
    """
    return [candidate.info.name for candidate in discover(settings.plugins, origin=settings.origin("plugins"))]


def migrate_or_refuse(settings: Settings) -> None:
    """Bring the embedded database to this version, with a backup first; refuse to touch a shared one.

    Raises:
        SettingsError: a PostgreSQL database is behind; names the command.
        StorageError: the database was made by a newer voxgate, or cannot be written.
    """
    schema = migrate.check(settings.database_url)
    if schema.state == "ready":
        return
    if not settings.embedded and schema.state != "ahead":
        raise SettingsError(
            f"the database is at schema {schema.current or 'none'} and this voxgate needs {schema.head}; "
            "back it up (pg_dump), then run: voxgate db upgrade"
        )
    upgrade(settings, schema)


def upgrade(settings: Settings, schema: migrate.Schema) -> None:
    """Migrate, after a backup where the database is embedded and not new."""
    if settings.embedded and schema.state == "behind":
        back_up(settings)
    migrate.upgrade(settings.database_url)


def back_up(settings: Settings) -> None:
    """Copy the embedded database and say where to."""
    path = Path(str(parse_url(settings.database_url).database))
    click.echo(f"voxgate: database backed up to {migrate.backup_sqlite(path)}", err=True)


def with_database(use: Callable[[Database, Settings], Awaitable[T]]) -> T:
    """Open the configured database, call `use`, close it."""
    settings = settings_for()
    migrate_or_refuse(settings)

    async def body() -> T:
        database = await Database.open(settings.database_url)
        try:
            return await use(database, settings)
        finally:
            await database.close()

    return asyncio.run(body())
