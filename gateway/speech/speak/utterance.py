"""The utterance that is spoken, and its result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec

from backends.interface import ChunkRule
from gateway.engines.order import ChunkOrder, ChunkTicket, Rank
from gateway.speech.encode.render import Rendered
from gateway.speech.request import SpeechRequest
from gateway.speech.speak.take_store import JobRef
from gateway.speech.speak.tally import BilledTakes
from gateway.speech.text.plan import Plan
from gateway.speech.text.script import PlannedChunk


class SpeakingHost(Protocol):
    """The part of a host that speech needs."""

    def submit(self, order: ChunkOrder) -> ChunkTicket:
        """See `gateway.engines.host.Host.submit`."""


class Utterance(msgspec.Struct, frozen=True):
    """The text to speak, with the voice that speaks it and the job it is for.

    Args:
        script: the plan's chunks, each with voice, language, speed, seed and key.
        rank: its lane; when it is lifted during the work, the chunks are lifted, too.
        backend: the backend that speaks all of it.
        checked: its takes are checked for flaws.
        rate: of the finished audio, in Hz.
        own_takes: do not use takes of other jobs; speak those chunks again.
        waited_for: the caller waits for the whole file, and no stream reads the takes.
        words: the caller wants word times, and the backend says that it gives them.
    """

    ref: JobRef
    tenant: str
    rank: Rank
    request: SpeechRequest
    plan: Plan
    script: tuple[PlannedChunk, ...]
    backend: str
    rate: int
    options: dict[str, Any]
    chunk_rule: ChunkRule
    own_takes: bool = False
    checked: bool = False
    waited_for: bool = False
    words: bool = False


class UtteranceListener(Protocol):
    """Receives the progress of an utterance."""

    def took(self) -> None:
        """Called for each take, of a chunk or of a piece of one."""

    def counted(self, done: int, total: int) -> None:
        """Called when one more chunk is done."""

    def kept(self) -> None:
        """Called when takes were committed."""


class SpokenUtterance(msgspec.Struct, frozen=True):
    """A finished utterance: its file, and counts of its chunks.

    Args:
        chunks_spoken: chunks that this attempt had spoken for this job.
        billed: takes the job pays for by voice, those of its earlier attempts included.
        kept: waits until the takes are committed; the file does not depend on them.
    """

    rendered: Rendered
    chunks: int
    chunks_spoken: int
    billed: tuple[BilledTakes, ...]
    engine_s: float
    warnings: tuple[tuple[str, str], ...]
    takes_retried: int
    kept: Callable[[], Awaitable[None]]
