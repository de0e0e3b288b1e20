"""Random checkpoints of the true Chatterbox classes, tiny or of full size: real files, real loading.

`sized(full)` must be active while such a checkpoint is made and while it is loaded. Tests and benchmarks use them.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import soundfile

from backends.chatterbox import compat

WIDTH = 64
EOS_AT = 24
SOS = 6561


def sized(full: bool) -> AbstractContextManager[None]:
    """Upstream's classes as they are (798 million parameters, 3.2 GB), or small ones (28 million)."""
    return nullcontext() if full else tiny_chatterbox()


@contextmanager
def tiny_chatterbox() -> Iterator[None]:
    """Upstream's constructors make small modules."""
    compat.prepare()
    import chatterbox.models.s3gen.s3gen as s3gen
    import chatterbox.models.t3.llama_configs as llama_configs
    from chatterbox.models.t3.modules import cond_enc, perceiver
    from s3tokenizer.model_v2 import ModelConfig, S3TokenizerV2

    llama = {
        "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 4, "head_dim": WIDTH // 4,
    }  # fmt: skip
    small = ModelConfig(n_audio_state=64, n_audio_head=1, n_audio_layer=1)
    decoder = {"channels": [64], "n_blocks": 1, "num_mid_blocks": 1, "num_heads": 2, "attention_head_dim": 32}
    with (
        mock.patch.dict(llama_configs.LLAMA_520M_CONFIG_DICT, llama),
        # Chatterbox does not pass its configuration on, so the default is what is made small.
        mock.patch.object(S3TokenizerV2.__init__, "__defaults__", (small,)),
        mock.patch.object(cond_enc, "Perceiver", functools.partial(perceiver.Perceiver, 32, WIDTH, WIDTH, 4)),
        _smaller(s3gen, "UpsampleConformerEncoder", linear_units=64, num_blocks=1),
        _smaller(s3gen, "ConditionalDecoder", **decoder),
        _smaller(s3gen, "HiFTGenerator", base_channels=64),
    ):
        yield


def _smaller(module: Any, name: str, **sizes: Any) -> Any:
    true_class = getattr(module, name)
    return mock.patch.object(module, name, lambda *args, **rest: true_class(*args, **{**rest, **sizes}))


def make_english(folder: Path, *, seed: int = 0, eos_at: int | None = EOS_AT, full: bool = False) -> Path:
    """A folder `ChatterboxTTS.from_local` takes, with a voice made by upstream of a synthetic recording.

    Args:
        eos_at: the speech step at which the weights make an end, whatever the text; None leaves that to chance.
        full: of full size; takes a minute, 3.2 GB of disk and 7 GB of memory.
    """
    compat.prepare()
    with sized(full):
        import torch
        from chatterbox.models.s3gen import S3Gen
        from chatterbox.models.t3 import T3
        from chatterbox.models.voice_encoder import VoiceEncoder
        from chatterbox.tts import ChatterboxTTS
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(seed)
        t3 = T3()
        with torch.no_grad():
            t3.speech_head.weight.mul_(4.0 if full else 8.0)  # logits with some contrast
        if eos_at is not None:
            bake_end(t3, eos_at)
        for name, module in (("ve", VoiceEncoder()), ("t3_cfg", t3), ("s3gen", S3Gen())):
            tensors = {key: tensor.clone().contiguous() for key, tensor in module.state_dict().items()}
            save_file(tensors, str(folder / f"{name}.safetensors"))
        write_tokenizer(folder / "tokenizer.json")
        write_recording(folder / "voice.wav")
        model = ChatterboxTTS.from_local(folder, "cpu")
        model.prepare_conditionals(str(folder / "voice.wav"))
        model.conds.save(folder / "conds.pt")
    return folder


def bake_end(t3: Any, step: int) -> None:
    """Make a random T3 say EOS exactly at a speech step, by its weights alone.

    Dimension 0 of the residual stream is kept for one signal: written by the learned speech positions (-4 before the
    step, 4 from it on), touched by no layer, read by the EOS row of the head.
    """
    import torch

    with torch.no_grad():
        for embedding in (t3.text_emb, t3.speech_emb, t3.text_pos_emb.emb):
            embedding.weight[:, 0] = 0
        for layer in t3.tfmr.layers:
            layer.self_attn.o_proj.weight[0] = 0
            layer.mlp.down_proj.weight[0] = 0
        positions = t3.speech_pos_emb.emb.weight
        positions[:step, 0], positions[step:, 0] = -4.0, 4.0
        head = t3.speech_head.weight
        head[:, 0] = 0
        head[t3.hp.stop_speech_token] = 0
        head[t3.hp.stop_speech_token, 0] = 50.0
        head[SOS] = 0  # two of them crash upstream


def write_tokenizer(path: Path, size: int = 704) -> None:
    """Letters and a few merges; the ids upstream takes for granted are where it expects them."""
    special = {"[STOP]": 0, "[UNK]": 1, "[SPACE]": 2, "[START]": 255}
    letters = "!'(),-./:;?\"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    merges = [("t", "h"), ("th", "e"), ("i", "n"), ("a", "n"), ("e", "r"), ("o", "u")]
    words = [*letters, *("".join(pair) for pair in merges)]
    free = (number for number in range(size) if number not in special.values())
    vocabulary = {**special, **dict(zip(words, free, strict=False))}
    vocabulary |= {f"[unused{number}]": number for number in free}
    added = [
        {"id": number, "content": word, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
        for word, number in special.items()
    ]  # fmt: skip
    model = {
        "type": "BPE", "dropout": None, "unk_token": "[UNK]", "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": False, "vocab": vocabulary, "merges": [list(pair) for pair in merges],
    }  # fmt: skip
    document = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None, "model": model,
    }  # fmt: skip
    path.write_text(json.dumps(document))


def write_recording(path: Path, seconds: float = 10.0, hertz: float = 120.0) -> None:
    """Something like a voice: a buzz that glides and beats, with a little noise."""
    rate = 24_000
    time = np.arange(int(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(hertz * (1 + 0.1 * np.sin(2 * np.pi * 2.5 * time))) / rate
    buzz = sum(np.sin(nth * phase) / nth for nth in range(1, 12)) * (0.5 + 0.5 * np.sin(2 * np.pi * 3 * time) ** 2)
    buzz = buzz + 0.01 * np.random.default_rng(0).standard_normal(time.size)
    soundfile.write(path, (0.3 * buzz / np.abs(buzz).max()).astype(np.float32), rate)
