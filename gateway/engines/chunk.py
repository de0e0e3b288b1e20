"""The part of a chunk that both its order and its message to a worker carry."""

from __future__ import annotations

from typing import Any

import msgspec

from backends.interface import Chunk, LoadMaterial, Material, Voice


class ChunkSpec(msgspec.Struct, frozen=True, array_like=True):
    """One chunk as an engine is to speak it.

    Args:
        options: as in the request; the worker converts them to the backend's `RequestOptions`.
        finish: input of the post function, opaque here.
        has_letters: the text has something to speak, so a silent take is an error.
    """

    text: str
    voice: Voice
    language: str
    seed: int
    ssml: str | None = None
    options: dict[str, Any] = {}
    finish: bytes = b""
    has_letters: bool = True

    def chunk(self, chunk_id: int, options_type: type[msgspec.Struct], load_material: LoadMaterial | None) -> Chunk:
        """Build the backend's chunk; its voice can load its material here.

        Raises:
            msgspec.ValidationError: the options do not fit `options_type`.
        """
        options = msgspec.convert(self.options, options_type)
        voice = self.voice
        if voice.material is not None:
            voice = msgspec.structs.replace(voice, material=Material(voice.material.hash, load_material))
        return Chunk(
            id=chunk_id, text=self.text, voice=voice, language=self.language, seed=self.seed, options=options,
            ssml=self.ssml,
        )  # fmt: skip
