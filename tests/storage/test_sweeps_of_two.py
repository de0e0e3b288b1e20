"""Two servers that sweep the same blob while it is put again: every order of their steps leaves it readable."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from support.storage import HandClock, on_sqlite, put_audio

from storage.db import statements
from storage.db.database import Database
from storage.files.audio import AudioStore
from storage.files.blob_store import BlobStore
from storage.files.spools import Spools
from storage.files.sweeper import Sweeper
from storage.records import BlobRecord

GRACE_S = 3600
STEPS = 6
"""Of a sweep that removes one blob: it begins, its four gates, and what follows them."""
DRAWN = 100
SECOND_BURIAL = ("a", "a", "a", "put", "b", "b", "b", "b", "a", "b", "a")
"""The second sweep moves the file that was put anew while the first one is about to remove the old one."""


class Stepped(BlobStore):
    """A blob store whose sweep goes on to its next gate when a test says so."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, Spools(root).of)
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._open = asyncio.Event()

    def bury(self, blobs: Iterable[tuple[str, str]]) -> list[str]:
        self._gate()
        moved = super().bury(blobs)
        self._gate()
        return moved

    def clear(self, files: Sequence[str], rows: set[str]) -> tuple[int, int]:
        self._gate()
        done = super().clear(files, rows)
        self._gate()
        return done

    def _gate(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stand(), self._loop).result(30)

    async def _stand(self) -> None:
        self._arrived.set()
        await self._open.wait()
        self._open.clear()

    def let(self) -> None:
        """Let the sweep pass the gate where it stands."""
        self._open.set()

    async def gate(self, sweep: asyncio.Task[object]) -> None:
        """Wait until the sweep has come to a gate, or to its end."""
        arrived = asyncio.ensure_future(self._arrived.wait())
        await asyncio.wait((arrived, sweep), return_when=asyncio.FIRST_COMPLETED)
        arrived.cancel()
        self._arrived.clear()


class Sweep:
    """A server's sweep, a step at a time."""

    def __init__(self, database: Database, root: Path, clock: HandClock) -> None:
        self._store = Stepped(root)
        audio = AudioStore(root)
        audio.blobs = self._store
        self._sweeper = Sweeper(database, audio, clock, GRACE_S, walked=0)
        self._task: asyncio.Task[object] | None = None

    async def step(self) -> None:
        """Begin it, or let it go on to its next gate; nothing once it has ended."""
        if self._task is None:
            self._task = asyncio.create_task(self._sweeper.sweep())
        else:
            self._store.let()
        await self._store.gate(self._task)

    async def end(self) -> None:
        """Let it go on to its end."""
        while self._task is None or not self._task.done():
            await self.step()
        await self._task


async def written(database: Database, audio: AudioStore, clock: HandClock, data: bytes) -> BlobRecord:
    """These bytes put, their row written, and settled."""
    blob = await put_audio(audio, data)
    row = {"hash": blob.hash, "suffix": blob.suffix, "size_bytes": blob.size_bytes, "now": clock.now_ms()}
    await database.writer.insert(statements.PUT_BLOB, row)
    await audio.settle(blob)
    return blob


def orders() -> list[tuple[str, ...]]:
    """Orders of the steps of two sweeps and of a put: one that is known to be hard, and some that are drawn."""
    places = [(put, first) for put in range(2 * STEPS + 1) for first in itertools.combinations(range(2 * STEPS), STEPS)]
    drawn = []
    for put, first in random.Random(11).sample(places, DRAWN):
        steps = ["a" if at in first else "b" for at in range(2 * STEPS)]
        drawn.append((*steps[:put], "put", *steps[put:]))
    return [SECOND_BURIAL, *drawn]


@pytest.mark.slow
@on_sqlite
async def test_no_order_of_two_sweeps_and_a_put_of_the_same_bytes_loses_them(
    database: Database, tmp_path: Path, clock: HandClock
) -> None:
    lost: list[Sequence[str]] = []
    root = tmp_path / "audio"
    plain = AudioStore(root)
    for n, order in enumerate(orders()):
        data = f"sound {n}".encode()
        blob = await written(database, plain, clock, data)
        clock.turn(2 * GRACE_S)
        sweeps = {name: Sweep(database, root, clock) for name in ("a", "b")}
        for step in order:
            if step == "put":
                await written(database, plain, clock, data)
            else:
                await sweeps[step].step()
        for sweep in sweeps.values():
            await sweep.end()
        if not plain.blobs.where(blob.hash, blob.suffix).is_file():
            lost.append(order)
    assert lost == []
    assert not [file for folder in ("trash", "tmp") for file in (root / folder).iterdir()]
