"""The reference engine: upstream's `generate()`, one chunk at a time. What it says is right by definition."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from backends.chatterbox.conditionals import VoiceConditionals
from backends.chatterbox.knobs import Knobs, knobs_of
from backends.chatterbox.models import Model
from backends.chatterbox.pulse import Abandoned, Pulse
from backends.chatterbox.settings import ChatterboxSettings
from backends.interface import Chunk, ChunkFailed, Event, Feed, Pcm, Take

_ALMOST_ZERO = 5e-324
"""Above zero for upstream's `if cfg_weight > 0`, whose other branch crashes; zero once it is a float32 tensor."""


class ReferenceEngine:
    """Speaks with any of the three models.

    Args:
        model: upstream's ChatterboxTTS, ChatterboxMultilingualTTS or ChatterboxTurboTTS.
        facts: which one it is.
    """

    def __init__(self, model: Any, facts: Model, settings: ChatterboxSettings) -> None:
        self._model = model
        self._facts = facts
        self._kind = settings.model
        self._voices = VoiceConditionals(model, settings.heard_s)
        self._pulse = Pulse(model.t3, model.s3gen)

    def synthesize(self, feed: Feed) -> Iterator[Event]:
        """Chunk by chunk; a cancelled one is left in the middle."""
        while chunks := feed.take(1, wait=True):
            for chunk in chunks:
                if feed.cancelled(chunk.id):
                    continue
                event = self._try(chunk, feed)
                if event is not None:
                    yield event

    def close(self) -> None:
        """Leave the model as it was."""
        self._pulse.remove()

    def _try(self, chunk: Chunk, feed: Feed) -> Event | None:
        def listen() -> None:
            if feed.cancelled(chunk.id):
                raise Abandoned

        self._pulse.listen = listen
        try:
            pcm = self._speak(chunk)
        except Abandoned:
            return None
        except ValueError as error:
            return ChunkFailed(chunk.id, str(error), kind="invalid_input")
        except Exception as error:  # noqa: BLE001 - one bad chunk must not end the engine
            return ChunkFailed(chunk.id, f"{type(error).__name__}: {error}", retryable=True)
        finally:
            self._pulse.listen = None
        return Take(chunk.id, pcm, self._model.sr)

    def _speak(self, chunk: Chunk) -> Pcm:
        knobs = knobs_of(chunk.options, self._facts)
        conds = self._voices.of(chunk.voice)
        # A new one each time: upstream writes into the conditionals it is given.
        self._model.conds = type(self._model.conds)(conds.t3_cond(knobs.exaggeration), dict(conds.gen))
        torch.manual_seed(chunk.seed)
        with torch.inference_mode():  # also for the watermarker, which otherwise keeps its autograd graph
            wav = self._model.generate(chunk.text, **self._arguments(chunk, knobs))
        pcm: Pcm = np.ascontiguousarray(wav.squeeze(0).numpy(), np.float32)
        return pcm

    def _arguments(self, chunk: Chunk, knobs: Knobs) -> dict[str, Any]:
        if self._kind == "turbo":
            return {
                "temperature": knobs.temperature,
                "top_p": knobs.top_p,
                "repetition_penalty": knobs.repetition_penalty,
            }
        arguments: dict[str, Any] = {
            "exaggeration": knobs.exaggeration,
            "cfg_weight": knobs.cfg_weight or _ALMOST_ZERO,
            "temperature": knobs.temperature,
            "min_p": knobs.min_p,
            "top_p": knobs.top_p,
            "repetition_penalty": knobs.repetition_penalty,
        }
        if self._kind == "multilingual":
            arguments["language_id"] = chunk.language.partition("-")[0].lower()
        return arguments
