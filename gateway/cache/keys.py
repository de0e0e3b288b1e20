"""Builds all cache keys.

A key covers everything that shapes the sound. It holds the text instead of the plan: a plan is a pure function of
text, language, chunk rule and planner version, all of which are in the key, and hashing costs 1 % of planning.
"""

from __future__ import annotations

import hashlib

import msgspec

KEY_SCHEMA = "1"

_encode = msgspec.json.Encoder(order="deterministic").encode


class Source(msgspec.Struct, frozen=True, array_like=True):
    """The backend, voice and options of a take, and the scope in which it is shared.

    Args:
        scope: the tenant, or `shared`.
        options: the backend's request options in their canonical JSON.
        checks: version of the checks on takes, since a flawed take is replaced; empty for no checks.
    """

    scope: str
    backend: str
    revision: str
    voice_hash: str
    language: str
    options: bytes
    checks: str = ""


class Recipe(msgspec.Struct, frozen=True, array_like=True):
    """The text of a request, and how it is chunked, paced and encoded.

    Args:
        text: as written, since outputs show it.
        spoken: as respelled by a pronunciation dictionary; None where that changes nothing.
    """

    text: str
    seed: int
    planner: str
    chunk_rule: tuple[int, int, int, str]
    speed: float
    loudness: float | None
    format: str
    encoder: str
    bitrate: int | None
    spoken: str | None = None


def cache_key(source: Source, recipe: Recipe, more: bytes = b"") -> str:
    """Return the key of finished audio: 64 hex digits.

    Args:
        more: segments with the sources of all voices they name, and word times; empty for a plain text without both.
    """
    parts = ("audio", KEY_SCHEMA, source, recipe, *((more,) if more else ()))
    return hashlib.sha256(_encode(parts)).hexdigest()


def take_key(source: Source, text: str, ssml: str | None, seed: int) -> str:
    """Return the key of one chunk's take: 64 hex digits. Takes are shared across speed, format and position."""
    return hashlib.sha256(_encode(("take", KEY_SCHEMA, source, text, ssml, seed))).hexdigest()
