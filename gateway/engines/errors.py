"""What can become of a chunk that is not spoken."""

from __future__ import annotations

from backends.interface import FailureKind
from gateway.errors import SynthesisFailed, Unavailable


class ChunkRefused(SynthesisFailed):
    """The backend answered, but not with a take that can be used.

    Args:
        kind: `too_long` (split the text and ask again), `unsupported_text` and `invalid_input` (the caller's to
            mend), `out_of_memory` (the same may fit another time), `failed` (the backend's own fault). `unavailable`
            becomes BackendUnavailable instead.
        retryable: whether another try may help.
    """

    def __init__(self, kind: FailureKind, message: str, retryable: bool) -> None:
        super().__init__(message)
        self.kind = kind
        self.retryable = retryable
        self.code = kind if kind in ("unsupported_text", "invalid_input") else SynthesisFailed.code  # type: ignore[misc]


class ChunkPoisoned(SynthesisFailed):
    """The chunk ended its worker again and again while it was alone there; it is not tried again."""


class HostStopped(Unavailable):
    """The gateway is stopping; somebody else, or the next start, speaks this."""


class CallLost(SynthesisFailed):
    """The process that computed it died or hung, or none can be started; the message goes on after its name."""
