"""Reads rows, files and audio of a data folder without a server."""

from __future__ import annotations

import base64
import contextlib
import io
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import soundfile
from support.databases import url_of
from support.running import settings_of

from gateway.app import Gateway
from gateway.cache.keys import Source, take_key
from gateway.jobs.plan.assign import Assigner
from gateway.routing.endpoints import Endpoint
from gateway.routing.router import Router
from storage.db.database import Database
from storage.files.audio import AudioStore
from storage.files.sweeper import Sweeper


def rows(data_dir: Path, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """Return rows of the database, read with another connection; `?` stands for a value."""
    url = url_of(data_dir)
    if url is not None:
        with psycopg.connect(url) as shared:
            return shared.execute(sql.replace("?", "%s"), values or None).fetchall()  # type: ignore[arg-type]
    connection = sqlite3.connect(f"file:{data_dir / 'voxgate.db'}?mode=ro", uri=True, timeout=10)
    try:
        return connection.execute(sql, values).fetchall()
    finally:
        connection.close()


def holds_no_lock(data_dir: Path, job_id: str) -> bool:
    """Return whether nobody is in the middle of writing this job; on SQLite, of writing anything."""
    url = url_of(data_dir)
    try:
        if url is not None:
            with psycopg.connect(url) as shared:
                shared.execute("SELECT id FROM jobs WHERE id = %s FOR UPDATE NOWAIT", (job_id,)).fetchall()
        else:
            with contextlib.closing(sqlite3.connect(data_dir / "voxgate.db", timeout=0.5)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.rollback()
    except (psycopg.errors.LockNotAvailable, sqlite3.OperationalError):
        return False
    return True


async def missing_files(data_dir: Path) -> list[str]:
    """Return the blobs with a row and without a file."""
    database = await Database.open(url_of(data_dir) or f"sqlite:///{data_dir / 'voxgate.db'}")
    try:
        return await Sweeper(database, AudioStore(data_dir / "audio")).audit()
    finally:
        await database.close()


def sound_of(job: dict[str, Any]) -> None:
    """Decode a finished job's audio; assert that it is whole and as long as the job says."""
    assert job["status"] == "COMPLETED", job.get("error", job)
    output = job["output"]
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(output["audio_base64"])), dtype="int16")
    assert rate == output["sample_rate"]
    assert round(len(samples) * 1000 / rate) == output["duration_ms"], job["id"]
    assert output["chunks"][-1]["end_ms"] <= output["duration_ms"]
    assert abs(samples).max() > 1000, f"{job['id']} is silent"


def spoken(record: Path) -> list[tuple[str, int]]:
    """Return the chunks the scripted backend has begun to speak, from its record: (text, seed)."""
    if not record.exists():
        return []
    return [tuple(msgspec.json.decode(line)) for line in record.read_bytes().splitlines()]


def source_of(folder: Path, fields: dict[str, Any]) -> Source:
    """Return the source (backend, voice and options) in the take keys of such a request."""
    gateway = Gateway(settings_of(folder))
    router = Router({hosted.name: hosted for hosted in gateway.engines}, None, lambda _tenant, _name: None)
    raw = msgspec.json.encode({"text": "Some words.", **fields})
    assigner = Assigner(gateway.settings, router)
    return assigner.choose(assigner.read(raw, Endpoint("tests"), "default"), "a key").assignment.source


def key_of(source: Source, text: str, seed: int) -> str:
    """Return the key of a chunk's take."""
    return take_key(source, text, None, seed)
