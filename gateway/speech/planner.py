"""Reads and plans texts: short ones where it is called, long ones in processes of their own.

Reading a text means decoding and cleaning it, applying a dictionary, hashing it and cutting it into chunks. All of it
takes linear time, but some steps hold the interpreter's lock until a whole text is through, and a server whose loop
stands still loses its leases. A tenant's long texts are read one after the other; those of several tenants take turns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

import msgspec

from backends.interface import ChunkRule
from gateway.cache.keys import Recipe, Source, cache_key
from gateway.engines.errors import CallLost
from gateway.engines.pool import PoolLimits, ProcessPool, default_processes, main
from gateway.errors import ReadingFailed
from gateway.speech.decode import decode_request
from gateway.speech.request import SpeechRequest
from gateway.speech.text.length import most_samples
from gateway.speech.text.lexicon import Lexicon
from gateway.speech.text.plan import Plan, Segment, Speak, make_plan
from gateway.speech.text.script import PlannedChunk, planned_chunks
from gateway.speech.text.written import as_written

T = TypeVar("T")

LONG_BYTES = 200_000
"""A longer input is decoded and cleaned in a process: these take up to 35 ns a byte, with the lock held."""

LONG_CHARS = 20_000
"""A longer text is planned in a process: the slowest ones take 1 microsecond a character."""

SPELLING_COSTS = 20
"""So many times as long takes a text that is spelled out, or searched for the entries of a dictionary."""

_SLAB = 2_000  # segments of a plan that are decoded at once
_CALL_S = 600.0

__all__ = ["LONG_BYTES", "LONG_CHARS", "PlanOrder", "Planned", "Planner", "main"]


class PlanOrder(msgspec.Struct, frozen=True):
    """A text to be planned.

    Args:
        language: BCP 47, of the arm.
        lexicon: the dictionary that respells it; None where that changes nothing.
        source: who speaks, in the words of the takes' keys.
        seed: of the request.
        rate: of what will be heard, in Hz.
    """

    text: str
    language: str
    rule: ChunkRule
    spelled_out: bool
    lexicon: Lexicon | None
    source: Source
    seed: int | None
    speed: float
    rate: int

    @property
    def long(self) -> bool:
        """Whether planning it would hold up the event loop."""
        slow = self.spelled_out or self.lexicon is not None
        return len(self.text) > (LONG_CHARS // SPELLING_COSTS if slow else LONG_CHARS)


class Planned(msgspec.Struct, frozen=True):
    """A plan, its script, and about how many samples it has at most when it is spoken."""

    plan: Plan
    script: tuple[PlannedChunk, ...]
    most_samples: int


class Planner:
    """Plans texts, and reads long ones, away from the event loop where they could hold it up."""

    def __init__(self, limits: PoolLimits | None = None) -> None:
        self._pool = ProcessPool(__name__, limits or PoolLimits(default_processes(), call_timeout_s=_CALL_S, keep=1))

    async def stop(self) -> None:
        """End the processes."""
        await self._pool.stop()

    async def decode(self, raw: bytes, defaults: Mapping[str, Any] | None, tenant: str) -> SpeechRequest:
        """See `decode_request`; for an input above LONG_BYTES.

        Raises:
            InvalidInput: what was wrong, what is allowed.
            ReadingFailed: the process that read it died.
        """
        return await self._run(tenant, decode_request, raw, None if defaults is None else dict(defaults))

    async def key(self, source: Source, recipe: Recipe, lexicon: Lexicon | None, tenant: str) -> tuple[str, bool]:
        """The key of a long text's audio, and whether the dictionary changes the text.

        Raises:
            InvalidInput: the dictionary would make it many times as long.
            ReadingFailed: the process that read it died.
        """
        return await self._run(tenant, respelled_key, source, recipe, lexicon)

    async def plan(self, order: PlanOrder, tenant: str) -> Planned:
        """The plan of a text of any length.

        Raises:
            ReadingFailed: the process that planned it died.
        """
        if not order.long:
            return planned(order)
        pieces: Any = await self._run(tenant, _in_slabs, order)
        return await _joined(pieces)

    async def _run(self, tenant: str, function: Callable[..., T], *args: Any) -> T:
        try:
            return await self._pool.run(function, *args, owner=tenant)
        except CallLost as error:
            raise ReadingFailed(
                f"the process that read this text {error}. Other texts are not concerned. Send it again; should that "
                "fail too, send it in smaller parts, and see to it that the server has memory left"
            ) from error


def planned(order: PlanOrder) -> Planned:
    """The plan of a text, made here."""
    respelled = None if order.lexicon is None else order.lexicon.respell(order.text)
    text = order.text if respelled is None else respelled.text
    plan = make_plan(text, order.language, order.rule, spelled_out=order.spelled_out)
    if respelled is not None:
        plan = as_written(plan, respelled)
    return Planned(plan, planned_chunks(plan, order.source, order.seed), most_samples(plan, order.speed, order.rate))


def respelled_key(source: Source, recipe: Recipe, lexicon: Lexicon | None) -> tuple[str, bool]:
    """The key of a text's audio, and whether the dictionary changes the text.

    Raises:
        InvalidInput: the dictionary would make it many times as long.
    """
    respelled = None if lexicon is None else lexicon.respell(recipe.text)
    if respelled is not None:
        recipe = msgspec.structs.replace(recipe, spoken=respelled.text)
    return cache_key(source, recipe), respelled is not None


class _Slab(msgspec.Struct, frozen=True, array_like=True):
    """Some segments of a plan; for each that is spoken its nth, its seed and the key of its take."""

    segments: tuple[Segment, ...]
    chunks: tuple[tuple[int, int, str], ...]


_decode_slab = msgspec.msgpack.Decoder(_Slab).decode
_encode = msgspec.msgpack.encode


def _in_slabs(order: PlanOrder) -> Iterator[bytes | int]:
    """A plan in pieces, each of which is decoded in a millisecond or two, and its most samples."""
    made = planned(order)
    script = iter(made.script)
    for start in range(0, len(made.plan.segments), _SLAB):
        segments = made.plan.segments[start : start + _SLAB]
        chunks = sum(isinstance(segment, Speak) for segment in segments)
        # The text of a line is its segment's: it travels, and is kept, once.
        yield _encode(_Slab(segments, tuple((each.nth, each.seed, each.key) for each in islice(script, chunks))))
    yield made.most_samples


async def _joined(pieces: list[Any]) -> Planned:
    """The plan again; the event loop has its turns in between."""
    *slabs, samples = pieces
    pieces.clear()
    segments: list[Segment] = []
    script: list[PlannedChunk] = []
    for data in slabs:
        slab = _decode_slab(data)
        segments += slab.segments
        speaks = (segment for segment in slab.segments if isinstance(segment, Speak))
        for speak, (nth, seed, key) in zip(speaks, slab.chunks, strict=True):
            script.append(PlannedChunk(len(script), speak.text, nth, seed, key))
        await asyncio.sleep(0)
    return Planned(Plan(tuple(segments)), tuple(script), samples)
