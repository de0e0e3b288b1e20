"""Job ids: UUIDv7 (RFC 9562), so that they sort by time; opaque to clients, in RunPod's form."""

from __future__ import annotations

import os

_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
"""A random hex digit with its two upper bits set to the variant of RFC 9562."""


def uuid7(now_ms: int) -> str:
    """Make a UUIDv7 of this wall time in UTC milliseconds, with 74 random bits."""
    chance = os.urandom(10).hex()
    stamp = f"{now_ms & 0xFFFF_FFFF_FFFF:012x}"
    variant = _VARIANT[chance[3]]
    return f"{stamp[:8]}-{stamp[8:]}-7{chance[:3]}-{variant}{chance[4:7]}-{chance[7:19]}"


def job_id(kind: str, now_ms: int) -> str:
    """Make a job id: `UUID-v1` for `/run`, `sync-UUID-v1` for `/runsync`."""
    unique = uuid7(now_ms)
    return f"sync-{unique}-v1" if kind == "runsync" else f"{unique}-v1"
