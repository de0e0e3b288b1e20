"""The take of a chunk, and its origin."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from gateway.engines.order import TakeResult
from gateway.speech.sound.finish import Finish

TakeOrigin: TypeAlias = Literal["spoken", "pieces", "stored", "shared"]


class ChunkTake(msgspec.Struct, frozen=True):
    """The take of a chunk, and where it comes from.

    Args:
        finish: the settings with which its samples (`take.pcm`) were finished; None if it has only its file.
        origin: `spoken` for this job, joined from `pieces`, `stored` before, or `shared` with another job.
    """

    take: TakeResult
    finish: Finish | None
    origin: TakeOrigin
