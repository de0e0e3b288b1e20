"""Makes random checkpoints of Chatterbox's own classes, tiny or full-size, with real files and real loading.

`sized(full)` must be active while such a checkpoint is made and while it is loaded. Used by tests and benchmarks.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import soundfile

from backends.chatterbox import compat

WIDTH = 64
EOS_AT = 24
TURBO_EOS_AT = 195
SOS = 6561
FOREIGN = "äöüßéèñçаеионтсрвабгдклмпуыяกखवहनमकあいうえおかきくけこがさしすせてにのはをんアトハ\u3099、。"
CANGJIE = {"今": "oin", "天": "mk", "氣": "onfd", "很": "hoav", "好": "vnd"}
TURBO_CONFIG = {
    "llama_config_name": "GPT2_medium", "speech_tokens_dict_size": 6563, "input_pos_emb": None,
    "speech_cond_prompt_len": 375, "use_perceiver_resampler": False, "emotion_adv": False,
}  # fmt: skip


def sized(full: bool) -> AbstractContextManager[None]:
    """Return a context with upstream's classes unchanged (798 million parameters, 3.2 GB), or small (28 million)."""
    return nullcontext() if full else tiny_chatterbox()


@contextmanager
def tiny_chatterbox(model: str = "english") -> Iterator[None]:
    """Patch upstream's constructors to make small modules.

    Args:
        model: the model whose token decoder is made small; the multilingual one keeps the layers and heads that its
            alignment analyzer reads.
    """
    compat.prepare()
    import chatterbox.models.s3gen.s3gen as s3gen
    import chatterbox.models.t3.llama_configs as llama_configs
    from chatterbox.models.t3.modules import cond_enc, perceiver
    from s3tokenizer.model_v2 import ModelConfig, S3TokenizerV2

    layers, heads = (14, 16) if model == "multilingual" else (2, 4)
    llama = {
        "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": heads, "head_dim": WIDTH // heads,
    }  # fmt: skip
    gpt2 = {"n_embd": WIDTH, "hidden_size": WIDTH, "n_layer": 2, "n_head": 4}
    small = ModelConfig(n_audio_state=64, n_audio_head=1, n_audio_layer=1)
    decoder = {"channels": [64], "n_blocks": 1, "num_mid_blocks": 1, "num_heads": 2, "attention_head_dim": 32}
    with (
        mock.patch.dict(llama_configs.LLAMA_520M_CONFIG_DICT, llama),
        mock.patch.dict(llama_configs.GPT2_MEDIUM_CONFIG, gpt2),
        # Chatterbox does not pass its configuration on, so the default is made small.
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
    """Make a folder for `ChatterboxTTS.from_local`, with a voice that upstream makes from a synthetic recording.

    Args:
        eos_at: the speech step at which the weights end every text; None leaves the end to chance.
        full: make full-size weights; takes a minute, 3.2 GB of disk and 7 GB of memory.
    """
    compat.prepare()
    with sized(full):
        import torch
        from chatterbox.models.s3gen import S3Gen
        from chatterbox.models.t3 import T3
        from chatterbox.models.voice_encoder import VoiceEncoder
        from chatterbox.tts import ChatterboxTTS

        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(seed)
        t3 = T3()
        with torch.no_grad():
            t3.speech_head.weight.mul_(4.0 if full else 8.0)  # logits with some contrast
        if eos_at is not None:
            bake_end(t3, eos_at)
        for name, module in (("ve", VoiceEncoder()), ("t3_cfg", t3), ("s3gen", S3Gen())):
            _save(module, folder / f"{name}.safetensors")
        write_tokenizer(folder / "tokenizer.json")
        _give_voice(ChatterboxTTS.from_local(folder, "cpu"), folder)
    return folder


def make_multilingual(folder: Path, *, seed: int = 0, eos_at: int | None = EOS_AT // 2) -> Path:
    """Make a tiny folder for `ChatterboxMultilingualTTS.from_local`; see make_english.

    Its alignment analyzer reads attention, which is random here, so it may end a text anywhere.
    """
    compat.prepare()
    with tiny_chatterbox("multilingual"):
        import torch
        from chatterbox.models.s3gen import S3Gen
        from chatterbox.models.t3 import T3
        from chatterbox.models.t3.modules.t3_config import T3Config
        from chatterbox.models.voice_encoder import VoiceEncoder
        from chatterbox.mtl_tts import SUPPORTED_LANGUAGES, ChatterboxMultilingualTTS

        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(seed)
        t3 = T3(T3Config.multilingual())
        with torch.no_grad():
            t3.speech_head.weight.mul_(8.0)
        if eos_at is not None:
            bake_end(t3, eos_at)
        with torch.no_grad():
            t3.speech_head.weight[SOS] = 0
            t3.speech_head.weight[SOS + 2 :] = 0  # tokens that upstream passes on to a decoder that lacks them
        _save(t3, folder / "t3_mtl23ls_v2.safetensors")
        torch.save(VoiceEncoder().state_dict(), folder / "ve.pt")
        torch.save(S3Gen().state_dict(), folder / "s3gen.pt")
        codes = [f"[cj_{letter}]" for letter in (*"abcdefghijklmnopqrstuvwxyz", *"0123456789", ".")]
        languages = [f"[{language}]" for language in SUPPORTED_LANGUAGES]
        write_tokenizer(
            folder / "grapheme_mtl_merged_expanded_v1.json", size=2454, special=[*languages, *codes], more=FOREIGN
        )
        table = [f"{character}\t{code}" for character, code in CANGJIE.items()]
        (folder / "Cangjie5_TC.json").write_text(json.dumps(table))
        with compat.files_from(folder):
            model = ChatterboxMultilingualTTS.from_local(folder, "cpu")
        _give_voice(model, folder, seconds=2.0)
    return folder


def make_turbo(folder: Path, *, seed: int = 0, eos_at: int | None = TURBO_EOS_AT) -> Path:
    """Make a tiny folder for `ChatterboxTurboTTS.from_local`; see make_english.

    Args:
        eos_at: the position from which on the weights end every text, counting positions of the voice and the text;
            None leaves the end to chance.
    """
    compat.prepare()
    with tiny_chatterbox("turbo"):
        import torch
        from chatterbox.models.s3gen import S3Gen
        from chatterbox.models.t3 import T3
        from chatterbox.models.t3.modules.t3_config import T3Config
        from chatterbox.models.voice_encoder import VoiceEncoder
        from chatterbox.tts_turbo import ChatterboxTurboTTS
        from tokenizers.pre_tokenizers import ByteLevel

        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(seed)
        config = T3Config(text_tokens_dict_size=50276)
        for name, value in TURBO_CONFIG.items():
            setattr(config, name, value)
        t3 = T3(config)
        if eos_at is not None:
            _bake_turbo_end(t3, eos_at)
        _save(t3, folder / "t3_turbo_v1.safetensors")
        _save(VoiceEncoder(), folder / "ve.safetensors")
        _save(S3Gen(meanflow=True), folder / "s3gen_meanflow.safetensors")
        end = "<|endoftext|>"
        letters = {letter: number for number, letter in enumerate(sorted(ByteLevel.alphabet()))}
        documents = {
            "vocab.json": letters | {end: 50256},
            "tokenizer_config.json": {
                "tokenizer_class": "GPT2Tokenizer", "model_max_length": 1024,
                "eos_token": end, "bos_token": end, "unk_token": end,
            },
            "special_tokens_map.json": {"eos_token": end},
            "added_tokens.json": {},
        }  # fmt: skip
        for name, document in documents.items():
            (folder / name).write_text(json.dumps(document))
        (folder / "merges.txt").write_text("#version: 0.2\n")
        # With NumPy 2 upstream's own loudness normalisation fails.
        _give_voice(ChatterboxTurboTTS.from_local(folder, "cpu"), folder, seconds=5.1, norm_loudness=False)
    return folder


def _save(module: Any, path: Path) -> None:
    from safetensors.torch import save_file

    save_file({key: tensor.clone().contiguous() for key, tensor in module.state_dict().items()}, str(path))


def _give_voice(model: Any, folder: Path, seconds: float = 10.0, **rest: Any) -> None:
    write_recording(folder / "voice.wav", seconds)
    model.prepare_conditionals(str(folder / "voice.wav"), **rest)
    model.conds.save(folder / "conds.pt")


def bake_end(t3: Any, step: int) -> None:
    """Change the weights of a random T3 so that it gives EOS exactly at a speech step.

    Dimension 0 of the residual stream carries only this signal: the learned speech positions write it (-4 before the
    step, 4 from it on), no layer changes it, and the EOS row of the head reads it.
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


def _bake_turbo_end(t3: Any, position: int) -> None:
    """As `bake_end`, for Turbo, whose GPT-2 has its own positions."""
    import torch

    with torch.no_grad():
        for embedding in (t3.text_emb, t3.speech_emb):
            embedding.weight[:, 0] = 0
        t3.cond_enc.spkr_enc.weight[0] = 0
        t3.cond_enc.spkr_enc.bias[0] = 0
        for block in t3.tfmr.h:
            for layer in (block.attn.c_proj, block.mlp.c_proj):
                layer.weight[:, 0] = 0
                layer.bias[0] = 0
        positions = t3.tfmr.wpe.weight
        positions[:position, 0], positions[position:, 0] = -4.0, 4.0
        head = t3.speech_head
        head.weight[:, 0] = 0
        head.weight[t3.hp.stop_speech_token] = 0
        head.weight[t3.hp.stop_speech_token, 0] = 50.0
        head.bias[t3.hp.stop_speech_token] = 0


def write_tokenizer(path: Path, size: int = 704, special: Sequence[str] = (), more: str = "") -> None:
    """Write a tokenizer of letters and a few merges, with the special ids that upstream expects.

    Args:
        special: further tokens that are never split.
        more: further letters.
    """
    fixed = {"[STOP]": 0, "[UNK]": 1, "[SPACE]": 2, "[START]": 255}
    fixed |= {word: size - 1 - nth for nth, word in enumerate(special)}
    letters = "!'(),-./:;?\"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    merges = [("t", "h"), ("th", "e"), ("i", "n"), ("a", "n"), ("e", "r"), ("o", "u")]
    words = [*letters, *more, *("".join(pair) for pair in merges)]
    free = (number for number in range(size) if number not in fixed.values())
    vocabulary = {**fixed, **dict(zip(words, free, strict=False))}
    vocabulary |= {f"[unused{number}]": number for number in free}
    added = [
        {"id": number, "content": word, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
        for word, number in fixed.items()
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
    """Write a synthetic voice: a buzz with changing pitch and level, and a little noise."""
    rate = 24_000
    time = np.arange(int(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(hertz * (1 + 0.1 * np.sin(2 * np.pi * 2.5 * time))) / rate
    buzz = sum(np.sin(nth * phase) / nth for nth in range(1, 12)) * (0.5 + 0.5 * np.sin(2 * np.pi * 3 * time) ** 2)
    buzz = buzz + 0.01 * np.random.default_rng(0).standard_normal(time.size)
    soundfile.write(path, (0.3 * buzz / np.abs(buzz).max()).astype(np.float32), rate)
