"""`voxgate pronunciations`: edits a tenant's pronunciation dictionary."""

from __future__ import annotations

import csv
import io
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click
import msgspec

from gateway.cli.output import echo_json, echo_table, json_option
from gateway.cli.prepared import with_database
from gateway.clock import SystemClock
from gateway.errors import BadRequest
from gateway.library.pronunciations import Dictionary, Pronunciations
from gateway.settings import Settings
from gateway.settings.words import explain
from gateway.speech.text.lexicon import ANY, Pronunciation
from storage.db.database import Database
from storage.pronunciations import PronunciationStore

T = TypeVar("T")

_COLUMNS = ("phrase", "respelling", "language")
_tenant = click.option("--tenant", default="default", show_default=True, help="The tenant of the dictionary.")
_language = click.option("--language", default=ANY, show_default=True, help="BCP 47 tag; `*` for every language.")


@click.group()
def pronunciations() -> None:
    """Set how words are pronounced that are not spoken as they are written.

    A change reaches every server within a second.
    """


@pronunciations.command(name="list")
@_tenant
@json_option
def list_pronunciations(tenant: str, as_json: bool) -> None:
    """List a tenant's dictionary."""

    async def read(dictionaries: Pronunciations) -> Dictionary:
        return dictionaries.get(tenant)

    _show(_with_dictionaries(read), as_json)


@pronunciations.command(name="set")
@click.argument("phrase")
@click.argument("respelling")
@_language
@_tenant
def set_pronunciation(phrase: str, respelling: str, language: str, tenant: str) -> None:
    """Speak PHRASE (one or more words) like RESPELLING."""
    entry = Pronunciation(phrase, respelling, language)
    _print_version(_with_dictionaries(lambda dictionaries: dictionaries.set(tenant, [entry])))


@pronunciations.command()
@click.argument("phrase", required=False)
@_language
@click.option("--all", "everything", is_flag=True, help="Remove every entry.")
@_tenant
def remove(phrase: str | None, language: str, everything: bool, tenant: str) -> None:
    """Remove PHRASE: it is spoken as it is written."""
    if everything == (phrase is not None):
        raise BadRequest("give either a phrase to remove, or --all")
    if phrase is None:
        _print_version(_with_dictionaries(lambda dictionaries: dictionaries.clear(tenant)))
    else:
        _print_version(_with_dictionaries(lambda dictionaries: dictionaries.remove(tenant, phrase, language)))


@pronunciations.command(name="import")
@click.argument("file", type=click.File("r", encoding="utf-8-sig"))
@click.option("--replace", is_flag=True, help="Remove all other entries.")
@_tenant
def import_pronunciations(file: io.TextIOBase, replace: bool, tenant: str) -> None:
    """Read entries from FILE (`-` for standard input): JSON as `list --json` prints it, or CSV.

    The columns of the CSV are phrase, respelling and, optional, language.
    """
    entries = _entries(file.read())
    _print_version(_with_dictionaries(lambda dictionaries: dictionaries.set(tenant, entries, replace=replace)))


def _entries(text: str) -> list[Pronunciation]:
    if text.lstrip()[:1] in ("{", "["):
        try:
            document = msgspec.json.decode(text)
            listed = document.get("entries", ()) if isinstance(document, dict) else document
            return msgspec.convert(listed, list[Pronunciation])
        except msgspec.ValidationError as error:
            raise BadRequest(f"the file is not a dictionary: {explain(error, list[Pronunciation])}") from error
        except msgspec.DecodeError as error:
            raise BadRequest(f"the file is not a dictionary: {error}") from error
    rows = list(csv.reader(text.splitlines()))
    if rows and [cell.strip().lower() for cell in rows[0]] == list(_COLUMNS[: len(rows[0])]):
        del rows[0]
    entries = []
    for number, row in enumerate(rows, 1):
        if not row:
            continue
        if not 2 <= len(row) <= len(_COLUMNS):
            raise BadRequest(f"row {number} has {len(row)} columns; the columns are {', '.join(_COLUMNS)}")
        entries.append(Pronunciation(row[0], row[1], row[2].strip() or ANY if len(row) > 2 else ANY))
    return entries


def _show(dictionary: Dictionary, as_json: bool) -> None:
    if as_json:
        echo_json(dictionary)
        return
    echo_table(
        _COLUMNS,
        [(entry.phrase, entry.respelling, entry.language) for entry in dictionary.entries],
        empty="none; make one: voxgate pronunciations set Nguyen Win --language en",
    )


def _print_version(dictionary: Dictionary) -> None:
    count = len(dictionary.entries)
    click.echo(f"version {dictionary.version}: {count} {'entry' if count == 1 else 'entries'}")


def _with_dictionaries(use: Callable[[Pronunciations], Awaitable[T]]) -> T:
    async def body(database: Database, settings: Settings) -> T:
        dictionaries = Pronunciations(PronunciationStore(database), SystemClock())
        await dictionaries.refresh()
        return await use(dictionaries)

    return with_database(body)
