"""Checks an engine's samples and finishes the take. Runs in the worker (for inline backends in a DSP process)."""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from backends.interface import FailureKind, Take
from gateway.engines.order import FinishedTake, Post

_KINDS = get_args(FailureKind)


class Refusal(msgspec.Struct, frozen=True):
    """The reason a take cannot be used; see ChunkRefused."""

    kind: FailureKind
    error: str
    retryable: bool


def finish(post: Post, take: Take, declared_rate: int, wish: bytes, has_letters: bool) -> FinishedTake | Refusal:
    """Check a take and run the post function on it.

    Args:
        take: as the engine gave it; its rate must equal `declared_rate`.
        declared_rate: the rate of the backend's capabilities.
        wish: `ChunkSpec.finish`.

    An exception of the post function refuses the take, with the exception's `kind` and `retryable` if it has them.
    """
    if take.rate != declared_rate:
        return Refusal("failed", f"the backend gave {take.rate} Hz, its capabilities say {declared_rate} Hz", False)
    try:
        return post(take, wish, has_letters)
    except Exception as error:  # noqa: BLE001 - one bad take must not end the engine
        named: Any = getattr(error, "kind", None)
        kind: FailureKind = named if named in _KINDS else "failed"
        retryable = bool(getattr(error, "retryable", kind == "failed"))
        return Refusal(kind, str(error) or type(error).__name__, retryable)
