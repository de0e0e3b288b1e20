"""Checks an engine's samples and finishes the take. Runs in the worker (for inline backends in a DSP process)."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import numpy as np

from backends.interface import FailureKind
from gateway.engines.order import Post

_KINDS = get_args(FailureKind)


class Refusal(msgspec.Struct, frozen=True):
    """The reason a take cannot be used; see ChunkRefused."""

    kind: FailureKind
    error: str
    retryable: bool


class Outcome(msgspec.Struct, frozen=True):
    """A finished take, or the refusal in `failed`."""

    file: bytes = b""
    samples: int = 0
    pcm: bytes = b""
    gain_db: float = 0.0
    report: bytes = b""
    failed: Refusal | None = None


def finish(post: Post, pcm: Any, rate: int, declared_rate: int, wish: bytes, has_letters: bool) -> Outcome:
    """Check a take and run the post function on it.

    Args:
        pcm: the samples, as the engine gave them.
        rate: their rate in Hz, as the engine gave it; must equal `declared_rate`.
        declared_rate: the rate of the backend's capabilities.
        wish: `ChunkSpec.finish`.

    An exception of the post function refuses the take, with the exception's `kind` and `retryable` if it has them.
    """
    if rate != declared_rate:
        return _refused("failed", f"the backend gave {rate} Hz, its capabilities say {declared_rate} Hz", False)
    try:
        done = post(np.asarray(pcm), rate, wish, has_letters)
        return Outcome(bytes(done.file), int(done.samples), bytes(done.pcm), float(done.gain_db), bytes(done.report))
    except Exception as error:  # noqa: BLE001 - one bad take must not end the engine
        named: Any = getattr(error, "kind", None)
        kind: FailureKind = named if named in _KINDS else "failed"
        retryable = bool(getattr(error, "retryable", kind == "failed"))
        return _refused(kind, str(error) or type(error).__name__, retryable)


def _refused(kind: FailureKind, error: str, retryable: bool) -> Outcome:
    return Outcome(failed=Refusal(kind, error, retryable))
