"""Fits the number of the token decoder's slots to the memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from backends.chatterbox.cache import Allocate
from backends.chatterbox.device import is_out_of_memory, release_memory
from backends.chatterbox.settings import ChatterboxSettings
from backends.chatterbox.t3 import T3Decoder
from backends.interface import BackendUnavailable


def build_decoder(
    t3: Any, settings: ChatterboxSettings, dtype: torch.dtype, allocate: Allocate, beat: Callable[[], object]
) -> T3Decoder:
    """Build the decoder with the slots of the settings, or a half or a quarter of them; see T3Decoder.

    Raises:
        BackendUnavailable: not even one slot fits, or not all slots of a deterministic engine.
    """
    slots, fixed = settings.slots, settings.deterministic
    while True:
        try:
            return T3Decoder(t3, slots=slots, dtype=dtype, fixed=fixed, allocate=allocate, beat=beat)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        if slots == 1 or fixed:
            raise BackendUnavailable(
                "the model leaves no memory to decode with", "free some on the device or lower slots"
            )
        slots //= 2


def shrink(decoder: T3Decoder) -> None:
    """Halve the slots of an empty decoder, repeatedly if needed. Raises the last error if one slot does not fit."""
    while True:
        try:
            decoder.shrink()
            return
        except Exception as error:
            if not is_out_of_memory(error) or decoder.slots == 1:
                raise
        release_memory(decoder.device)
