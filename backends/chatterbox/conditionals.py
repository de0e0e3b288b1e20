"""Voice conditionals: tensors the model computes from a voice's recording, cached by content hash."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import nullcontext
from typing import Any

import soundfile  # type: ignore[import-untyped]
import torch

from backends.chatterbox.device import is_lost, is_out_of_memory
from backends.chatterbox.presets import preset_file
from backends.interface import Voice

KEPT = 64
"""Number of cached voices; one is about half a megabyte."""

_FRAMES_PER_TOKEN = 2
_TOKENS_PER_S = 25


class VoiceConds:
    """The conditionals of one voice on the device; they must not be changed.

    Args:
        key: the voice's content hash.
        t3: upstream's T3Cond without an exaggeration of its own.
        gen: for the mel decoder: prompt_token (1, p) int64, prompt_feat (1, 2p, 80), embedding (1, 192).
    """

    def __init__(self, key: str, conds: Any, reference_s: float) -> None:
        self.key = key
        self.t3 = conds.t3
        self.gen = _shorten(conds.gen, int(reference_s * _TOKENS_PER_S))

    def t3_cond(self, exaggeration: float) -> Any:
        """Build upstream's T3Cond with this exaggeration."""
        original = self.t3
        return type(original)(
            speaker_emb=original.speaker_emb,
            cond_prompt_speech_tokens=original.cond_prompt_speech_tokens,
            emotion_adv=exaggeration * torch.ones(1, 1, 1, device=original.speaker_emb.device),
        )


class VoiceConditionals:
    """A cache of voice conditionals; the least recently used are dropped.

    Args:
        model: upstream's model; its `conds` are the built-in voice.
        reference_s: seconds of the recording the mel decoder reads.
        kept: number of cached voices.
        longer_than_s: a recording must be longer than this.
        voices_dir: the folder of the presets.
    """

    def __init__(
        self,
        model: Any,
        reference_s: float = 10.0,
        kept: int = KEPT,
        *,
        longer_than_s: float = 0.0,
        voices_dir: str | None = None,
    ) -> None:
        self._model = model
        self._builtin = model.conds
        self._reference_s = reference_s
        self._kept = kept
        self._longer_than_s = longer_than_s
        self._voices_dir = voices_dir
        self._known: OrderedDict[str, VoiceConds] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def of(self, voice: Voice) -> VoiceConds:
        """Return the conditionals of a voice, computed on first use.

        Raises:
            ValueError: the voice's recording cannot be read or is too short.
        """
        found = self._known.get(voice.content_hash)
        if found is None:
            found = VoiceConds(voice.content_hash, self._make(voice), self._reference_s)
            self._known[voice.content_hash] = found
            while len(self._known) > self._kept:
                self._known.popitem(last=False)
        self._known.move_to_end(voice.content_hash)
        return found

    def _make(self, voice: Voice) -> Any:
        if voice.material is None:
            return self._builtin
        try:
            preset = preset_file(self._voices_dir, voice.material.hash)
            with nullcontext(preset) if preset is not None else voice.material.local() as recording:
                seconds = soundfile.info(recording).duration  # librosa would try every decoder of the machine
                if seconds > self._longer_than_s:
                    with torch.inference_mode():
                        self._model.prepare_conditionals(str(recording))
        except (OSError, RuntimeError, AssertionError, ValueError) as error:
            if is_out_of_memory(error) or is_lost(error):
                raise  # a fault of the device
            kind = type(error).__name__
            raise ValueError(f"the recording of voice {voice.name!r} cannot be used ({kind})") from error
        if seconds <= self._longer_than_s:
            raise ValueError(
                f"this model needs a recording of more than {self._longer_than_s:g} s; that of voice {voice.name!r} "
                f"has {seconds:.1f} s"
            )
        made, self._model.conds = self._model.conds, self._builtin
        return made


def _shorten(gen: dict[str, Any], tokens: int) -> dict[str, Any]:
    tokens = min(tokens, gen["prompt_token"].shape[1])
    return {
        **gen,
        "prompt_token": gen["prompt_token"][:, :tokens].long(),
        "prompt_token_len": torch.full_like(gen["prompt_token_len"], tokens),
        "prompt_feat": gen["prompt_feat"][:, : tokens * _FRAMES_PER_TOKEN],
    }
