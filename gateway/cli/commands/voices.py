"""`voxgate voices`: makes, lists, plays and deletes a tenant's own voices."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import click

from gateway.cli.output import echo_json, echo_table, format_time, json_option
from gateway.cli.prepared import with_database
from gateway.clock import SystemClock
from gateway.engines.dsp import Dsp
from gateway.library.voices import UploadedVoice, VoiceLibrary
from gateway.settings import Settings
from storage.db.database import Database
from storage.files.audio import AudioStore
from storage.voices import VoiceStore

T = TypeVar("T")

_tenant = click.option("--tenant", default="default", show_default=True, help="The tenant of the voice.")


@click.group()
def voices() -> None:
    """Make voices from recordings; list, play and delete them.

    A change reaches every server within a second. Backends that can clone a voice speak with them.
    """


@voices.command()
@click.argument("name")
@click.argument("recording", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--consent", required=True, help="Who agreed to the use of this voice, and when.")
@click.option("--language", help="BCP 47 tag of what is spoken in the recording.")
@_tenant
@json_option
def add(name: str, recording: Path, consent: str, language: str | None, tenant: str, as_json: bool) -> None:
    """Make the voice NAME from RECORDING: WAV, MP3, FLAC or OGG, 3 to 60 seconds."""
    made = _with_library(lambda library: library.add(tenant, name, recording.read_bytes(), consent, language))
    if as_json:
        echo_json(made)
        return
    click.echo(f"{made.name}: {made.duration_s:.1f} s of speech at {made.level_dbfs:.0f} dBFS")
    for warning in made.warnings:
        click.echo(f"warning: {warning}", err=True)


@voices.command(name="list")
@_tenant
@json_option
def list_voices(tenant: str, as_json: bool) -> None:
    """List a tenant's own voices; `voxgate backends` lists the backends' voices."""

    async def read(library: VoiceLibrary) -> list[UploadedVoice]:
        return library.all(tenant)

    found = _with_library(read)
    if as_json:
        echo_json(found)
        return
    echo_table(
        ("voice", "language", "seconds", "level", "made", "consent"),
        [
            (
                v.name,
                v.language,
                f"{v.duration_s:.1f}",
                f"{v.level_dbfs:.0f} dBFS",
                format_time(v.created_ms),
                v.consent,
            )
            for v in found
        ],
        empty="none; make one: voxgate voices add NAME recording.wav --consent '…'",
    )


@voices.command()
@click.argument("name")
@_tenant
def remove(name: str, tenant: str) -> None:
    """Delete a voice: its recording, its takes and its cache entries."""
    _with_library(lambda library: library.remove(tenant, name))
    click.echo(f"{name} is removed; a server's sweep deletes its files after cache.blob_grace_s")


@voices.command()
@click.argument("name")
@click.option("-o", "--output", required=True, help="The file; `-` for standard output.")
@_tenant
def play(name: str, output: str, tenant: str) -> None:
    """Write the prepared recording of a voice: mono WAV at 24 kHz."""

    async def write(library: VoiceLibrary) -> None:
        recording = await library.recording(tenant, name)
        with click.open_file(output, "wb") as file:
            async for piece in recording.read(0, recording.size_bytes - 1):
                file.write(piece)

    _with_library(write)


def _with_library(use: Callable[[VoiceLibrary], Awaitable[T]]) -> T:
    async def body(database: Database, settings: Settings) -> T:
        dsp = Dsp()
        try:
            audio = await asyncio.to_thread(AudioStore, settings.audio_dir)
            library = VoiceLibrary(VoiceStore(database), audio, dsp, SystemClock())
            await library.refresh()
            return await use(library)
        finally:
            await dsp.stop()

    return with_database(body)
