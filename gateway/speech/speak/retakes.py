"""Speaks a chunk again when its take has flaws, and keeps the best take."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from gateway.engines.errors import ChunkPoisoned, ChunkRefused
from gateway.engines.order import TakeResult
from gateway.speech.sound.checks import Flaw, score

FLAW_WARNING = "take_flaw"
"""Code of the warning about a flaw in the take that was kept."""

_UNENDED = "missed_eos: "
_UNENDED_SEVERITY = 0.5
_decode = msgspec.json.Decoder(tuple[Flaw, ...]).decode


async def best_take(
    speak: Callable[[int], Awaitable[TakeResult]], retries: int, on_flaws: Callable[[tuple[Flaw, ...]], None]
) -> tuple[TakeResult, int]:
    """Return the first take without a flaw, else the one with the best score; and the number of retries.

    Args:
        speak: speaks one take; called with 0, then with 1, 2, … for other seeds.
        retries: the most retries.
        on_flaws: called with the flaws of each take that has any.

    The take that is returned has its flaws among its warnings, and the engine's time for all tries. An error of the
    first try is raised; after an error of a later try the best take so far is returned.
    """
    best: TakeResult | None = None
    best_flaws: tuple[Flaw, ...] = ()
    engine_s = 0.0
    tries = 0
    for retry in range(retries + 1):
        try:
            take = await speak(retry)
        except (ChunkRefused, ChunkPoisoned):
            if best is None:
                raise
            break
        tries = retry
        engine_s += take.engine_s
        flaws = flaws_of(take)
        if flaws:
            on_flaws(flaws)
        if best is None or score(flaws) > score(best_flaws):
            best, best_flaws = take, flaws
        if not flaws:
            break
    assert best is not None  # the first try returned or raised
    other_warnings = tuple(warning for warning in best.warnings if not warning.startswith(_UNENDED))
    flaw_warnings = tuple(f"{FLAW_WARNING}: {flaw.name}: {flaw.detail}" for flaw in best_flaws)
    return msgspec.structs.replace(best, warnings=other_warnings + flaw_warnings, engine_s=engine_s), tries


def flaws_of(take: TakeResult) -> tuple[Flaw, ...]:
    """Return the flaws that the checks found and the one the engine reports: it was cut off before it found an end."""
    found = _decode(take.report) if take.report else ()
    unended = [warning.removeprefix(_UNENDED) for warning in take.warnings if warning.startswith(_UNENDED)]
    if unended and all(flaw.name != "missed_eos" for flaw in found):
        found += (Flaw("missed_eos", _UNENDED_SEVERITY, unended[0]),)
    return found
