"""Errors of a chunk that has no take."""

from __future__ import annotations

from backends.interface import BackendUnavailable, FailureKind
from gateway.errors import SynthesisFailed, Unavailable


class ChunkRefused(SynthesisFailed):
    """The backend gave a failure or an unusable take for the chunk.

    Args:
        kind: `too_long` (split the text and ask again), `unsupported_text` and `invalid_input` (the caller must
            change the request), `out_of_memory` (the same chunk may fit later), `failed` (the backend's fault).
            `unavailable` becomes BackendUnavailable instead.
        retryable: another try may help.
        retry_after_s: seconds to wait before it, if the backend says so.
    """

    def __init__(self, kind: FailureKind, message: str, retryable: bool, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.code = kind if kind in ("unsupported_text", "invalid_input") else SynthesisFailed.code  # type: ignore[misc]


def failure(kind: FailureKind, message: str, retryable: bool, retry_after_s: float | None) -> Exception:
    """Return the error for a chunk's failure; `unavailable` is of this chunk only, and its worker goes on."""
    if kind == "unavailable":
        return BackendUnavailable(message)
    return ChunkRefused(kind, message, retryable, retry_after_s)


class ChunkPoisoned(SynthesisFailed):
    """The chunk ended several workers while it was alone in them; it is not tried again."""


class HostStopped(Unavailable):
    """The gateway is stopping; another server, or this one after its next start, speaks the chunk."""


class CallLost(SynthesisFailed):
    """The process of a call died or hung, or none can be started; the message continues after the process's name."""
