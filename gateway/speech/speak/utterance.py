"""What is spoken, and what came of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec

from backends.interface import ChunkRule, Voice
from gateway.cache.keys import Source
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
    """What is spoken, by whom and for whom.

    Args:
        script: the plan's chunks with seeds and keys.
        rank: its lane; lifted while it is spoken, its chunks are.
        source: who speaks, in the words of the cache key.
        rate: of what will be heard, in Hz.
        own_takes: what other jobs have spoken is spoken again.
        own_voice: the voice is one the tenant uploaded.
        waited_for: its caller waits for the whole, and nobody listens to it chunk by chunk from its stored takes.
    """

    ref: JobRef
    tenant: str
    rank: Rank
    request: SpeechRequest
    plan: Plan
    script: tuple[PlannedChunk, ...]
    source: Source
    rate: int
    voice: Voice
    options: dict[str, Any]
    chunk_rule: ChunkRule
    own_takes: bool = False
    own_voice: bool = False
    waited_for: bool = False


class Listener(Protocol):
    """Told how an utterance gets on."""

    def took(self) -> None:
        """A take is there, of a chunk or of a piece of one."""

    def counted(self, done: int, total: int) -> None:
        """One more chunk is done."""

    def kept(self) -> None:
        """Takes were committed."""


class SpokenUtterance(msgspec.Struct, frozen=True):
    """A finished utterance: its file and what became of its chunks.

    Args:
        chunks_spoken: chunks that were spoken by this attempt and for this job.
        led: what is paid for; also for takes that an earlier attempt of the job has left.
        kept: waits until its takes are committed; the file does not need them.
    """

    rendered: Rendered
    chunks: int
    chunks_spoken: int
    billed: BilledTakes
    engine_s: float
    warnings: tuple[tuple[str, str], ...]
    takes_retried: int
    kept: Callable[[], Awaitable[None]]
