"""The takes of this server: those that are stored, those that are not stored yet, and the finishing of stored ones."""

from __future__ import annotations

import asyncio

import msgspec

from gateway.engines.dsp import Dsp
from gateway.speech.sound.finish import Finish, finish_file
from gateway.speech.sound.take import Pcm16
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

    async def finished(self, file: bytes, finish: Finish) -> Pcm16:
        """Decode and finish the file of a take, outside the event loop."""
        if finish.speed == 1.0:
            pcm, _ = await asyncio.to_thread(finish_file, file, finish)
        else:
            pcm, _ = await self.dsp.run(finish_file, file, finish)
        return pcm
