"""The published Chatterbox models: their files, repositories and languages."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

LANGUAGES = (
    "ar", "da", "de", "el", "en", "es", "fi", "fr", "he", "hi", "it", "ja", "ko", "ms", "nl", "no", "pl", "pt", "ru",
    "sv", "sw", "tr", "zh",
)  # fmt: skip


class Model(msgspec.Struct, frozen=True):
    """One published model.

    Args:
        repo: its repository on the Hugging Face hub.
        commit: the commit of that repository that this version supports.
        files: names of all files it needs.
        loader: upstream's module and class.
        repetition_penalty, min_p, top_p: upstream's defaults.
        longer_than_s: a voice's recording must be longer than this.
    """

    repo: str
    commit: str
    files: tuple[str, ...]
    languages: tuple[str, ...]
    loader: tuple[str, str]
    repetition_penalty: float = 1.2
    min_p: float = 0.05
    top_p: float = 1.0
    longer_than_s: float = 0.0


_COMMIT = "5bb1f6ee58e50c3b8d408bc82a6d3740c2db6e18"
_TURBO_COMMIT = "749d1c1a46eb10492095d68fbcf55691ccf137cd"

MODELS = {
    "english": Model(
        "ResembleAI/chatterbox",
        _COMMIT,
        ("ve.safetensors", "t3_cfg.safetensors", "s3gen.safetensors", "tokenizer.json", "conds.pt"),
        ("en",),
        ("chatterbox.tts", "ChatterboxTTS"),
    ),
    "multilingual": Model(
        "ResembleAI/chatterbox",
        _COMMIT,
        (
            "ve.pt", "t3_mtl23ls_v2.safetensors", "s3gen.pt", "grapheme_mtl_merged_expanded_v1.json", "conds.pt",
            "Cangjie5_TC.json",
        ),
        LANGUAGES,
        ("chatterbox.mtl_tts", "ChatterboxMultilingualTTS"),
        repetition_penalty=2.0,
    ),
    "turbo": Model(
        "ResembleAI/chatterbox-turbo",
        _TURBO_COMMIT,
        (
            "ve.safetensors", "t3_turbo_v1.safetensors", "s3gen_meanflow.safetensors", "conds.pt", "vocab.json",
            "merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
        ),
        ("en",),
        ("chatterbox.tts_turbo", "ChatterboxTurboTTS"),
        min_p=0.0,
        top_p=0.95,
        longer_than_s=5.0,
    ),
}  # fmt: skip


def choose_model(allowed: Sequence[str], language: str, asked: str | None = None) -> str:
    """Choose the model of a request: the one it asks for, else the first one with its language.

    Args:
        allowed: the models that may be loaded.
        language: BCP 47.
        asked: the model the request asks for.

    Raises:
        ValueError: that model may not be loaded, or no allowed model speaks the language.
    """
    primary = language.partition("-")[0].lower()
    if asked is not None and asked not in allowed:
        raise ValueError(
            f"option 'model': {asked!r} is not loaded here, only {', '.join(allowed)}; the server's setting `models` "
            "says which may be"
        )
    candidates = allowed if asked is None else (asked,)
    for name in candidates:
        if primary in MODELS[name].languages:
            return name
    spoken = "; ".join(f"{name} speaks {', '.join(MODELS[name].languages)}" for name in candidates)
    others = [name for name in MODELS if name not in candidates and primary in MODELS[name].languages]
    if here := [name for name in others if name in allowed]:
        cure = f"; leave out options.model, or say {' or '.join(here)}"
    else:
        cure = f"; {', '.join(others)} would: see the setting `models`" if others else ""
    raise ValueError(f"{spoken}; not {language!r}{cure}")
