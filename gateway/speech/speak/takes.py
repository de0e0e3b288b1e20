"""The takes of this server: those that are stored, those that are not stored yet, and the finishing of stored ones."""

from __future__ import annotations

import asyncio

import msgspec

from gateway.engines.dsp import Dsp
from gateway.speech.sound.finish import Finish, FinishedPcm, finish_file
from gateway.speech.sound.word_times import WordTimes
from gateway.speech.speak.fresh_takes import FreshTakes
from gateway.speech.speak.take_store import StoredTakes


class Takes(msgspec.Struct, frozen=True):
    """Gives the takes that exist to those who speak and to those who listen.

    Args:
        stored: takes with a committed row, of any server.
        fresh: takes that this server spoke and has not stored yet.
        dsp: runs the stretching of stored takes.
    """

    stored: StoredTakes
    fresh: FreshTakes
    dsp: Dsp

    async def finished(self, file: bytes, finish: Finish, words: WordTimes) -> FinishedPcm:
        """Decode and finish the file of a take and its word times, outside the event loop."""
        if finish.speed == 1.0:
            return await asyncio.to_thread(finish_file, file, finish, words)
        return await self.dsp.run(finish_file, file, finish, words)
