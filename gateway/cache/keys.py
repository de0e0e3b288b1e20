"""The one place where cache keys are built.

A key covers everything that shapes the sound. The text stands in for the plan: a plan is a pure function of text,
language, chunk rule and planner version, all of which are in the key, and hashing them costs a hundredth of planning.
"""

from __future__ import annotations

import hashlib

import msgspec

KEY_SCHEMA = "1"

_encode = msgspec.json.Encoder(order="deterministic").encode


class Source(msgspec.Struct, frozen=True, array_like=True):
    """Who speaks, and in what words the result may be shared.

    Args:
        scope: the tenant, or `shared`.
        options: the backend's request options in their canonical JSON.
        checks: which checks takes go through, since a flawed one is replaced; empty for none.
    """

    scope: str
    backend: str
    revision: str
    voice_hash: str
    language: str
    options: bytes
    checks: str = ""


class Recipe(msgspec.Struct, frozen=True, array_like=True):
    """What is said, and how it is cut, paced and encoded.

    Args:
        text: as it was written, since outputs show it.
        spoken: as it is spoken, where a pronunciation dictionary makes that another text.
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


def cache_key(source: Source, recipe: Recipe) -> str:
    """Key of finished audio: 64 hex digits."""
    return hashlib.sha256(_encode(("audio", KEY_SCHEMA, source, recipe))).hexdigest()


def take_key(source: Source, text: str, ssml: str | None, seed: int) -> str:
    """Key of one chunk's take: 64 hex digits. Speed, format and position are not in it: takes are shared by them."""
    return hashlib.sha256(_encode(("take", KEY_SCHEMA, source, text, ssml, seed))).hexdigest()
