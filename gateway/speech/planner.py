"""Reads and plans texts: short ones in the calling process, long ones in worker processes.

Reading a text means decoding and cleaning it, applying a dictionary, hashing it and cutting it into chunks. All steps
take linear time, but some hold the interpreter's lock for the whole text, and a server whose event loop is blocked
loses its leases. A tenant's long texts are read one after the other; those of several tenants take turns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any, TypeAlias, TypeVar

import msgspec

from backends.interface import ChunkRule
from gateway.cache.keys import Recipe, Source, cache_key
from gateway.clock import Clock
from gateway.engines.errors import CallLost
from gateway.engines.pool import PoolLimits, ProcessPool, default_processes, main
from gateway.errors import ReadingFailed
from gateway.speech.decode import decode_request
from gateway.speech.request import SpeechRequest
from gateway.speech.text.length import most_samples
from gateway.speech.text.lexicon import Lexicon
from gateway.speech.text.plan import Plan, Segment, Speak, make_plan
from gateway.speech.text.script import PlannedChunk, PlanVoices, planned_chunks, speed_of
from gateway.speech.text.segments import plan_segments
from gateway.speech.text.written import as_written

T = TypeVar("T")

Decoder: TypeAlias = Callable[[bytes | msgspec.Raw, Mapping[str, Any] | None], SpeechRequest]

LONG_BYTES = 200_000
"""Longer inputs are decoded and cleaned in a process: this takes up to 35 ns per byte and holds the lock."""

LONG_CHARS = 20_000
"""Longer texts are planned in a process: the slowest ones take 1 microsecond per character."""

SPELLING_COSTS = 20
"""Factor by which planning is slower for a text that is spelled out or searched for the entries of a dictionary."""

_SLAB = 2_000  # segments of a plan that are decoded at once
_CALL_S = 600.0

__all__ = ["LONG_BYTES", "LONG_CHARS", "PlanOrder", "Planned", "Planner", "main"]


class PlanOrder(msgspec.Struct, frozen=True):
    """A text to be planned.

    Args:
        language: BCP 47, of the arm.
        lexicon: the dictionary that respells the text; None if it changes nothing.
        voices: the request's voice, and those that its segments name.
        segments: see `SpeechRequest.segments`.
        seed: of the request.
        rate: of the finished audio, in Hz.
    """

    text: str
    language: str
    rule: ChunkRule
    spelled_out: bool
    lexicon: Lexicon | None
    voices: PlanVoices
    seed: int | None
    speed: float
    rate: int
    segments: tuple[Segment, ...] = ()

    @property
    def long(self) -> bool:
        """Return whether planning it would block the event loop."""
        slow = self.spelled_out or self.lexicon is not None
        return len(self.text) > (LONG_CHARS // SPELLING_COSTS if slow else LONG_CHARS)


class Planned(msgspec.Struct, frozen=True, weakref=True):
    """A plan, its script, and an upper estimate of its samples when it is spoken."""

    plan: Plan
    script: tuple[PlannedChunk, ...]
    most_samples: int


class Planner:
    """Reads and plans texts; long ones in worker processes, so that they do not block the event loop.


    Args:
        decoder: decodes the JSON of `input`; a function of a module, so that processes can call it.
    """

    def __init__(
        self, limits: PoolLimits | None = None, clock: Clock | None = None, decoder: Decoder = decode_request
    ) -> None:
        limits = limits or PoolLimits(default_processes(), call_timeout_s=_CALL_S, keep=1)
        self._decoder = decoder
        self._pool = ProcessPool(__name__, limits, clock)

    async def stop(self) -> None:
        """End the processes."""
        await self._pool.stop()

    def decode_here(self, raw: bytes | msgspec.Raw, defaults: Mapping[str, Any] | None) -> SpeechRequest:
        """Decode an input in this process; see `decode_request`.

        Raises:
            InvalidInput: the input is wrong; says what is wrong and what is allowed.
        """
        return self._decoder(raw, defaults)

    async def decode(self, raw: bytes, defaults: Mapping[str, Any] | None, tenant: str) -> SpeechRequest:
        """Decode an input above LONG_BYTES; see `decode_request`.

        Raises:
            InvalidInput: the input is wrong; says what is wrong and what is allowed.
            ReadingFailed: the process that read it died.
        """
        return await self._run(tenant, self._decoder, raw, None if defaults is None else dict(defaults))

    async def key(
        self, source: Source, recipe: Recipe, lexicon: Lexicon | None, tenant: str, segments: bytes = b""
    ) -> tuple[str, bool]:
        """Return the cache key of a long text, and whether the dictionary changes the text.

        Raises:
            InvalidInput: the dictionary would make the text many times as long.
            ReadingFailed: the process that read it died.
        """
        return await self._run(tenant, respelled_key, source, recipe, lexicon, segments)

    async def plan(self, order: PlanOrder, tenant: str) -> Planned:
        """Plan a text of any length.

        Raises:
            ReadingFailed: the process that planned it died.
        """
        if not order.long:
            return planned(order)
        pieces: Any = await self._run(tenant, _in_slabs, order)
        return await _joined(pieces, order)

    async def _run(self, tenant: str, function: Callable[..., T], *args: Any) -> T:
        try:
            return await self._pool.run(function, *args, owner=tenant)
        except CallLost as error:
            raise ReadingFailed(
                f"the process that read this text {error}. Other texts are not affected. Send it again; if that fails, "
                "too, send it in smaller parts, and check that the server has free memory"
            ) from error


def planned(order: PlanOrder) -> Planned:
    """Plan a text in this process."""
    plan = (
        plan_segments(order.segments, partial(_plan_text, order)) if order.segments else _plan_text(order, order.text)
    )
    script = planned_chunks(plan, order.voices, order.seed, order.speed)
    return Planned(plan, script, most_samples(plan, order.speed, order.rate))


def _plan_text(order: PlanOrder, text: str, language: str | None = None) -> Plan:
    """Plan plain text; `language` is that of its segment, None for the request's."""
    # The dictionary and the words for numbers are those of the request's language.
    respelled = None if order.lexicon is None or language is not None else order.lexicon.respell(text)
    plan = make_plan(
        text if respelled is None else respelled.text,
        language or order.language,
        order.rule,
        spelled_out=order.spelled_out and language is None,
    )
    return plan if respelled is None else as_written(plan, respelled)


def respelled_key(source: Source, recipe: Recipe, lexicon: Lexicon | None, segments: bytes = b"") -> tuple[str, bool]:
    """Return the cache key of a text, and whether the dictionary changes the text.

    Raises:
        InvalidInput: the dictionary would make the text many times as long.
    """
    respelled = None if lexicon is None else lexicon.respell(recipe.text)
    if respelled is not None:
        recipe = msgspec.structs.replace(recipe, spoken=respelled.text)
    return cache_key(source, recipe, segments), respelled is not None


class _Slab(msgspec.Struct, frozen=True, array_like=True):
    """Some segments of a plan, and for each chunk its nth, seed and take key."""

    segments: tuple[Segment, ...]
    chunks: tuple[tuple[int, int, str], ...]


_decode_slab = msgspec.msgpack.Decoder(_Slab).decode
_encode = msgspec.msgpack.encode


def _in_slabs(order: PlanOrder) -> Iterator[bytes | int]:
    """Yield a plan in slabs that are decoded in a millisecond or two each, then its most samples."""
    made = planned(order)
    script = iter(made.script)
    for start in range(0, len(made.plan.segments), _SLAB):
        segments = made.plan.segments[start : start + _SLAB]
        chunks = sum(isinstance(segment, Speak) for segment in segments)
        # The text of a chunk is in its segment, so it is sent and kept once.
        yield _encode(_Slab(segments, tuple((each.nth, each.seed, each.key) for each in islice(script, chunks))))
    yield made.most_samples


async def _joined(pieces: list[Any], order: PlanOrder) -> Planned:
    """Join the slabs to a plan; the event loop can run between them."""
    *slabs, samples = pieces
    pieces.clear()
    segments: list[Segment] = []
    script: list[PlannedChunk] = []
    for data in slabs:
        slab = _decode_slab(data)
        segments += slab.segments
        speaks = (segment for segment in slab.segments if isinstance(segment, Speak))
        for speak, (nth, seed, key) in zip(speaks, slab.chunks, strict=True):
            use, speed = order.voices.of(speak), speed_of(speak, order.speed)
            script.append(PlannedChunk(len(script), speak, nth, seed, key, use, speed))
        await asyncio.sleep(0)
    return Planned(Plan(tuple(segments)), tuple(script), samples)
