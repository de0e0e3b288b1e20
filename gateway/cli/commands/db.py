"""`voxgate db`: shows, migrates and backs up the database."""

from __future__ import annotations

import click

from gateway.cli import prepared
from gateway.cli.output import echo_json, json_option
from gateway.cli.prepared import settings_for
from gateway.errors import SettingsError
from storage.db import migrate


@click.group()
def db() -> None:
    """Migrate and back up the database."""


@db.command()
def upgrade() -> None:
    """Migrate the database to this version; an embedded one is backed up first."""
    settings = settings_for()
    schema = migrate.check(settings.database_url)
    if schema.state == "ready":
        click.echo(f"already at {schema.head}")
        return
    prepared.upgrade(settings, schema)
    click.echo(f"upgraded from {schema.current or 'nothing'} to {schema.head}")


@db.command()
@json_option
def current(as_json: bool) -> None:
    """Print the schema of the database, and the schema this version needs."""
    schema = migrate.check(settings_for().database_url)
    if as_json:
        echo_json(schema)
    else:
        click.echo(f"{schema.state}: at {schema.current or 'none'}, this version needs {schema.head}")


@db.command()
def backup() -> None:
    """Copy the embedded database while it is in use; the last three copies are kept."""
    settings = settings_for()
    if not settings.embedded:
        raise SettingsError("voxgate backs up only its embedded SQLite database; for PostgreSQL use pg_dump")
    if migrate.check(settings.database_url).state == "empty":
        raise SettingsError("there is no database to back up yet")
    prepared.back_up(settings)
