"""The reference engine: upstream's `generate()`, one chunk at a time. Other engines are compared with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from backends.chatterbox.conditionals import VoiceConditionals
from backends.chatterbox.device import is_lost, is_out_of_memory
from backends.chatterbox.knobs import Knobs, knobs_of, token_cap
from backends.chatterbox.models import Model
from backends.chatterbox.pulse import PassAborted, Pulse
from backends.chatterbox.settings import ChatterboxSettings
from backends.chatterbox.upstream import TokenBound, restored
from backends.interface import Chunk, ChunkFailed, Event, FailureKind, Feed, Pcm, Take

_ALMOST_ZERO = 5e-324
"""Above zero for upstream's `if cfg_weight > 0`, whose other branch crashes; zero as a float32 tensor."""

_UNSEGMENTED = (
    "not_segmented: Chinese is read without word boundaries: the segmenter's files are not in MODEL_CACHE_DIR"
)


class ReferenceEngine:
    """Speaks with any of the three models.

    Args:
        model: upstream's ChatterboxTTS, ChatterboxMultilingualTTS or ChatterboxTurboTTS.
        facts: the entry of that model in MODELS.
    """

    def __init__(self, model: Any, facts: Model, settings: ChatterboxSettings) -> None:
        self._model = model
        self._facts = facts
        self._kind = settings.model
        self._voices = VoiceConditionals(
            model, settings.heard_s, longer_than_s=facts.longer_than_s, voices_dir=settings.voices_dir
        )
        self._pulse = Pulse(model.t3, model.s3gen, model.ve)
        self._bound = TokenBound(model.t3)

    def synthesize(self, feed: Feed) -> Iterator[Event]:
        """Speak chunk by chunk; a cancel stops a chunk in its middle."""
        while chunks := feed.take(1, wait=True):
            for chunk in chunks:
                if feed.cancelled(chunk.id):
                    continue
                event = self._try(chunk, feed)
                if event is not None:
                    yield event

    def close(self) -> None:
        """Remove the hooks and wrappers from the model."""
        self._pulse.remove()
        self._bound.remove()

    def _try(self, chunk: Chunk, feed: Feed) -> Event | None:
        def listen() -> None:
            if feed.cancelled(chunk.id):
                raise PassAborted

        self._pulse.listen = listen
        try:
            return self._speak(chunk)
        except PassAborted:
            return None
        except ValueError as error:
            return ChunkFailed(chunk.id, str(error), kind="invalid_input")
        except Exception as error:  # one bad chunk must not end the engine
            if is_lost(error):
                raise
            kind: FailureKind = "out_of_memory" if is_out_of_memory(error) else "failed"
            return ChunkFailed(chunk.id, f"{type(error).__name__}: {error}", retryable=True, kind=kind)
        finally:
            self._pulse.listen = None

    def _speak(self, chunk: Chunk) -> Take:
        knobs = knobs_of(chunk.options, self._facts)
        conds = self._voices.of(chunk.voice)
        # A new object each time: upstream changes the conditionals it gets.
        self._model.conds = type(self._model.conds)(conds.t3_cond(knobs.exaggeration), dict(conds.gen))
        self._bound.cap = token_cap(chunk.text)
        torch.manual_seed(chunk.seed)
        # inference_mode also for the watermarker, which would keep its autograd graph
        with torch.inference_mode(), restored(self._model.t3):
            wav = self._model.generate(chunk.text, **self._arguments(chunk, knobs))
        pcm: Pcm = np.ascontiguousarray(wav.squeeze(0).numpy(), np.float32)
        return Take(chunk.id, pcm, self._model.sr, tuple(self._warnings(chunk)))

    def _warnings(self, chunk: Chunk) -> Iterator[str]:
        if self._bound.cut:
            yield f"missed_eos: cut at {self._bound.cap} speech tokens, before the model found an end"
        if _primary(chunk) == "zh" and self._model.tokenizer.cangjie_converter.segmenter is None:
            yield _UNSEGMENTED

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
            arguments["language_id"] = _primary(chunk)
        return arguments


def _primary(chunk: Chunk) -> str:
    return chunk.language.partition("-")[0].lower()
