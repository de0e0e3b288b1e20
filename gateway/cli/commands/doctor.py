"""`voxgate doctor`: finds what is wrong on this machine and names the cure."""

from __future__ import annotations

import asyncio
import platform
import shutil
from collections.abc import Iterator
from typing import Literal

import click
import msgspec

from gateway.access.keys import is_old, state_of
from gateway.cli.installed import Installed, installed
from gateway.cli.output import echo_json, format_bytes, json_option, one_line
from gateway.cli.prepared import installed_names, missing_driver
from gateway.cli.server_record import find_server
from gateway.clock import SystemClock
from gateway.errors import SettingsError
from gateway.routing.checks import endpoint_problems, route_problems
from gateway.routing.endpoints import decode_record
from gateway.settings import Settings, load_settings
from gateway.settings.checks import problems
from storage.db import migrate
from storage.db.database import Database
from storage.endpoints import EndpointRecord, EndpointStore
from storage.errors import StorageError
from storage.files.audio import AudioStore
from storage.files.blob_store import ASIDE
from storage.files.free_space import FreeSpace
from storage.files.sweeper import WALKED, Sweeper, Unlisted
from storage.jobs.counts import JobCountStore, WrongCount
from storage.keys import KeyRecord, KeyStore
from voxgate import __version__

_LOW_SPACE_BYTES = 1_000_000_000
_MARKS = {"ok": "ok     ", "warning": "warning", "problem": "PROBLEM"}


class Diagnosis(msgspec.Struct, frozen=True):
    """The result of one check; `words` holds the cure."""

    level: Literal["ok", "warning", "problem"]
    about: str
    words: str


@click.command()
@click.option("--read-audio", is_flag=True, help="Read every audio file, too, to find damaged ones.")
@json_option
def doctor(read_audio: bool, as_json: bool) -> None:
    """Check this machine, the settings, the database and the backends. Wrong counts of waiting and running jobs are
    corrected. Exit code 2 if there is a problem."""
    findings = list(_findings(read_audio))
    if as_json:
        echo_json(findings)
    else:
        for finding in findings:
            click.echo(f"{_MARKS[finding.level]}  {finding.about}: {finding.words}")
    if any(finding.level == "problem" for finding in findings):
        raise click.exceptions.Exit(2)


def _findings(read_audio: bool) -> Iterator[Diagnosis]:
    yield Diagnosis("ok", "voxgate", f"{__version__} on Python {platform.python_version()}, {platform.platform()}")
    try:
        settings = load_settings()
    except SettingsError as error:
        yield Diagnosis("problem", "settings", str(error))
        return
    running = find_server(settings.data_dir)
    wrong = problems(settings, listen=running is None)
    try:
        names = installed_names(settings)
        wrong += route_problems(settings, names)
        rows = installed(settings)
    except SettingsError as error:
        wrong.append(str(error))
        names, rows = None, None
    yield from (Diagnosis("problem", "settings", line) for line in wrong)
    if not wrong:
        yield Diagnosis("ok", "settings", f"data folder {settings.data_dir.absolute()}")
        yield from _space(settings)
    yield Diagnosis("ok", "server", f"runs at {running.url}" if running else f"none; {settings.host}:{settings.port}")
    yield from _database(settings, names, read_audio)
    if rows is not None:
        yield from _backends(settings, rows)


def _space(settings: Settings) -> Iterator[Diagnosis]:
    if shortage := FreeSpace(settings.work_dirs, settings.min_free_bytes).shortage():
        yield Diagnosis("problem", "space", f"free some space: {shortage} ({settings.origin('min_free_bytes')})")
        return
    for folder in dict.fromkeys((settings.data_dir, *settings.work_dirs)):
        free = shutil.disk_usage(folder).free
        if free < _LOW_SPACE_BYTES:
            words = f"only {format_bytes(free)} free in {folder}: free some space before it is full"
            yield Diagnosis("warning", "space", words)
            return
    yield Diagnosis("ok", "space", f"{format_bytes(shutil.disk_usage(settings.data_dir).free)} free")


def _database(settings: Settings, names: list[str] | None, read_audio: bool) -> Iterator[Diagnosis]:
    if lacking := missing_driver(settings):
        yield Diagnosis("problem", "database", lacking)
        return
    try:
        schema = migrate.check(settings.database_url)
        if schema.state == "ahead":
            yield Diagnosis(
                "problem", "database", f"made by a newer voxgate (schema {schema.current}); install that version"
            )
        elif schema.state == "ready":
            yield Diagnosis(
                "ok", "database", f"{'SQLite' if settings.embedded else 'PostgreSQL'}, schema {schema.head}"
            )
            keys, endpoints = asyncio.run(_read(settings))
            yield from _keys(settings, keys)
            if names is not None:
                yield from _endpoints(endpoints, names)
            yield _counts(settings)
            yield from _audio(settings, read_audio)
        elif settings.embedded:
            yield Diagnosis("ok", "database", f"schema {schema.current or 'none yet'}; `voxgate serve` migrates it")
        else:
            yield Diagnosis("problem", "database", f"schema {schema.current or 'none'}; run: voxgate db upgrade")
    except (SettingsError, StorageError) as error:
        yield Diagnosis("problem", "database", one_line(str(error)))


async def _read(settings: Settings) -> tuple[list[KeyRecord], list[EndpointRecord]]:
    database = await Database.open(settings.database_url)
    try:
        return await KeyStore(database).all(), await EndpointStore(database).all()
    finally:
        await database.close()


def _counts(settings: Settings) -> Diagnosis:
    wrong = asyncio.run(_correct_counts(settings))
    if not wrong:
        return Diagnosis("ok", "counts", "the counts of waiting and running jobs are right")
    first = wrong[0]
    return Diagnosis(
        "warning",
        "counts",
        f"{len(wrong)} counts of waiting or running jobs were wrong; the first: {first.counted} {first.state.value} at "
        f"endpoint {first.endpoint_id}, where there are {first.found}. All counts are corrected now, so queue_limit "
        "and /health are right again; counts become wrong only if somebody edits the database by hand",
    )


async def _correct_counts(settings: Settings) -> list[WrongCount]:
    database = await Database.open(settings.database_url)
    try:
        counts = JobCountStore(database)
        wrong = await counts.wrong()
        if wrong:
            await counts.recount()
        return wrong
    finally:
        await database.close()


class _Audio(msgspec.Struct, frozen=True):
    """The state of the audio store: hashes of missing and damaged files, files no sweep would find, files moved
    aside."""

    missing: list[str]
    damaged: list[str]
    unlisted: Unlisted
    aside: list[str]


def _audio(settings: Settings, read: bool) -> Iterator[Diagnosis]:
    try:
        found = asyncio.run(_check_audio(settings, read))
    except StorageError as error:
        yield Diagnosis("problem", "audio", one_line(str(error)))
        return
    if found.missing:
        yield Diagnosis(
            "warning",
            "audio",
            f"{len(found.missing)} files that the database refers to are missing in {settings.audio_dir}; the first is "
            f"{found.missing[0]}: restore them from a backup; without them finished jobs have no audio, and the same "
            "request is spoken again",
        )
    if found.damaged:
        yield Diagnosis(
            "warning",
            "audio",
            f"{len(found.damaged)} files in {settings.audio_dir} are damaged; the first is {found.damaged[0]}: check "
            "the disk, and restore them from a backup; a server that needs a damaged file moves it to "
            f"{ASIDE} and speaks its text again",
        )
    if found.aside:
        yield Diagnosis(
            "warning",
            "audio",
            f"{len(found.aside)} damaged files were moved to {settings.audio_dir / ASIDE}: check the disk, "
            "then delete them; their audio was spoken again, or is listed above as missing",
        )
    if found.unlisted.blobs:
        yield Diagnosis(
            "warning",
            "audio",
            f"{found.unlisted.blobs} files ({format_bytes(found.unlisted.size_bytes)}) are not used and not yet listed "
            f"for deletion: leave `voxgate serve` running; each sweep checks {WALKED} files and lists such files; if "
            "their number grows each day, report it",
        )
    if not (found.missing or found.damaged):
        words = "every file that the database refers to is there"
        yield Diagnosis("ok", "audio", f"{words} and undamaged" if read else f"{words} (--read-audio reads them)")


async def _check_audio(settings: Settings, read: bool) -> _Audio:
    database = await Database.open(settings.database_url)
    try:
        audio = AudioStore(settings.audio_dir)
        sweeper = Sweeper(database, audio)
        return _Audio(
            await sweeper.audit(),
            await sweeper.damaged() if read else [],
            await sweeper.unlisted(),
            await asyncio.to_thread(audio.blobs.aside_names),
        )
    finally:
        await database.close()


def _endpoints(records: list[EndpointRecord], names: list[str]) -> Iterator[Diagnosis]:
    """Check the endpoints in the database; those in the settings are checked with the settings."""
    for record in records:
        for words in endpoint_problems(*decode_record(record), names, lambda key: key):
            cure = f"run: voxgate endpoints create --replace {record.id}"
            yield Diagnosis("problem", f"endpoint {record.id}", f"{words}; {cure}")


def _keys(settings: Settings, records: list[KeyRecord]) -> Iterator[Diagnosis]:
    now = SystemClock().now_ms()
    old = [record for record in records if is_old(record, now)]
    for record in old:
        days = (now - record.created_ms) // 86_400_000
        yield Diagnosis("warning", "keys", f"{record.id} is {days} days old; run: voxgate keys rotate {record.id}")
    active = sum(state_of(record, now) == "active" for record in records)
    if not active and settings.api_key is None:
        yield Diagnosis("ok", "keys", "none yet; the first start creates one and shows it")
    elif not old:
        yield Diagnosis("ok", "keys", f"{active} active" + (", and VOXGATE_API_KEY" if settings.api_key else ""))


def _backends(settings: Settings, found: list[Installed]) -> Iterator[Diagnosis]:
    rows = [row for row in found if row.enabled]
    usable = [row for row in rows if row.state == "found"]
    for row in rows:
        if row.state == "found":
            yield Diagnosis("ok", row.name, f"{row.distribution} {row.version}, speaks {' '.join(row.languages)}")
            yield from (Diagnosis("problem" if row.speechless else "warning", row.name, words) for words in row.lacks)
        else:
            # A backend that the operator named must work; others may be missing.
            wanted = row.name in (settings.plugins or ()) or row.name == settings.default_backend
            yield Diagnosis("problem" if wanted or not usable else "warning", row.name, f"{row.state}: {row.remark}")
    if not rows:
        yield Diagnosis("problem", "backends", "none may load; see: voxgate backends, and VOXGATE_PLUGINS")
