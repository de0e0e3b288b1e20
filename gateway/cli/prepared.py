"""Prepares a command: reads its settings, makes the data folder, migrates the database."""

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
    """Read the settings, check them against this machine, and make the data folder.

    Args:
        overrides: flags by setting; None for a flag that was not given.
        listen: whether the port must be free.

    Raises:
        SettingsError: a setting is wrong; one line with variable, value and cure.
    """
    settings = load_settings(overrides=overrides)
    check_start(settings, listen=listen)
    if lacking := missing_driver(settings):
        raise SettingsError(lacking)
    return settings


def missing_driver(settings: Settings) -> str:
    """Return an error line with its cure if the database needs a driver that cannot be imported; else ""."""
    if not settings.database_url.startswith("postgresql"):
        return ""
    try:
        importlib.import_module("psycopg")
    except ImportError as error:  # not installed, or installed without libpq
        reason = str(error).splitlines()[0].strip().rstrip(":.")
        return (
            f"{settings.origin('database.url')} needs the PostgreSQL driver ({reason}); "
            "run: pip install 'voxgate[postgres]'"
        )
    return ""


def installed_names(settings: Settings) -> list[str]:
    """List every backend that an installed package registers, usable or not.

    Raises:
        SettingsError: `plugins` names a backend that no package registers.
    """
    return [candidate.info.name for candidate in discover(settings.plugins, origin=settings.origin("plugins"))]


def migrate_or_refuse(settings: Settings) -> None:
    """Back up and migrate an embedded database that is behind; refuse to migrate a shared one.

    Raises:
        SettingsError: a PostgreSQL database is behind; the message names the command.
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
    """Migrate the database; back it up first if it is embedded and not new."""
    if settings.embedded and schema.state == "behind":
        back_up(settings)
    migrate.upgrade(settings.database_url)


def back_up(settings: Settings) -> None:
    """Copy the embedded database and print the path of the copy."""
    path = Path(str(parse_url(settings.database_url).database))
    click.echo(f"voxgate: database backed up to {migrate.backup_sqlite(path)}", err=True)


def with_database(use: Callable[[Database, Settings], Awaitable[T]]) -> T:
    """Open the configured database, call `use` with it, and close it."""
    settings = settings_for()
    migrate_or_refuse(settings)

    async def body() -> T:
        database = await Database.open(settings.database_url)
        try:
            return await use(database, settings)
        finally:
            await database.close()

    return asyncio.run(body())
