"""Job ids: UUIDv7 (RFC 9562), so that they sort by time; opaque to clients, shaped like RunPod's."""

from __future__ import annotations

import os


def uuid7(now_ms: int) -> str:
    """A UUIDv7 of this wall time in UTC milliseconds, with 74 random bits."""
    value = (now_ms & 0xFFFF_FFFF_FFFF) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def job_id(kind: str, now_ms: int) -> str:
    """`UUID-v1` for `/run`, `sync-UUID-v1` for `/runsync`."""
    unique = uuid7(now_ms)
    return f"sync-{unique}-v1" if kind == "runsync" else f"{unique}-v1"
