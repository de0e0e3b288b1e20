"""The multilingual model and Turbo speak as upstream's `generate()` does, from files on the disk alone."""

from __future__ import annotations

import copy
import importlib
import inspect
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.chatterbox_feed import ListFeed, chunk, spoken
from support.voices import recorded

from backends.chatterbox import ChatterboxSettings, compat
from backends.chatterbox.models import MODELS
from backends.chatterbox.segmenter import find_segmenter
from backends.interface import BackendContext, Voice
from benchmarks.checkpoints import CANGJIE, make_turbo, tiny_chatterbox, write_recording
from benchmarks.tiny import TinyChatterbox

TEXT = "Hello there, my friend, it is late."
FOREIGN = {"de": "Ein Satz auf Deutsch.", "ja": "これは日本の歌です。", "ko": "안녕하세요.", "zh": "今天天氣很好。"}


def refuse_network(patch: pytest.MonkeyPatch) -> None:
    """Fail each look-up of an address."""

    def refuse(*args: Any, **_: Any) -> Any:
        raise AssertionError(f"asked for the network: {args[0]}")

    patch.setattr(socket, "getaddrinfo", refuse)
    patch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_network(monkeypatch)


def loaded(model: str, folder: Path, model_dir: Path, **settings: Any) -> TinyChatterbox:
    made = TinyChatterbox(
        ChatterboxSettings(model=model, model_path=str(folder), **settings),  # type: ignore[arg-type]
        BackendContext(model_dir, "cpu"),
    )
    made.load(lambda *_: None)
    return made


def model_of(backend: TinyChatterbox) -> Any:
    switch: Any = backend._engine
    [engine] = switch._engines.values()
    return engine._model


@pytest.fixture(scope="module")
def multilingual(multilingual_checkpoint: Path) -> Iterator[TinyChatterbox]:
    with pytest.MonkeyPatch.context() as patch:
        refuse_network(patch)
        made = loaded("multilingual", multilingual_checkpoint, Path("unused"))
    yield made
    made.unload()


@pytest.fixture(scope="module")
def turbo(turbo_checkpoint: Path) -> Iterator[TinyChatterbox]:
    made = loaded("turbo", turbo_checkpoint, Path("unused"))
    yield made
    made.unload()


def say(backend: TinyChatterbox, text: str = TEXT, seed: int = 100, **rest: Any) -> Any:
    takes, failures = spoken(backend.synthesize(ListFeed([chunk(0, text, seed, **rest)])))
    assert not failures, failures[0].error
    return takes[0]


def refusal(backend: TinyChatterbox, text: str = TEXT, **rest: Any) -> Any:
    _, failures = spoken(backend.synthesize(ListFeed([chunk(0, text, **rest)])))
    return failures[0]


class Upstream:
    """Upstream's own model, with a new token decoder each time: the multilingual one keeps state."""

    def __init__(self, name: str, folder: Path) -> None:
        module, loader = MODELS[name].loader
        with tiny_chatterbox(name), compat.files_from(folder):
            self._model = getattr(importlib.import_module(module), loader).from_local(folder, "cpu")
        self._decoder = self._model.t3.tfmr

    def generate(self, text: str, **arguments: Any) -> Any:
        self._model.t3.tfmr = copy.deepcopy(self._decoder)
        self._model.t3.cfg = self._model.t3.tfmr.config
        torch.manual_seed(100)
        return self._model.generate(text, **arguments).squeeze(0).numpy()


@pytest.fixture(scope="module")
def upstream_multilingual(multilingual_checkpoint: Path) -> Upstream:
    return Upstream("multilingual", multilingual_checkpoint)


@pytest.fixture(scope="module")
def upstream_turbo(turbo_checkpoint: Path) -> Upstream:
    return Upstream("turbo", turbo_checkpoint)


# -- multilingual -------------------------------------------------------------------------------
@pytest.mark.parametrize("language", FOREIGN)
def test_each_language_is_upstreams_bytes(
    multilingual: TinyChatterbox, upstream_multilingual: Upstream, language: str
) -> None:
    text = FOREIGN[language]
    take = say(multilingual, text, language=language)
    np.testing.assert_array_equal(take.pcm, upstream_multilingual.generate(text, language_id=language))


def test_options_reach_the_multilingual_model(multilingual: TinyChatterbox, upstream_multilingual: Upstream) -> None:
    options: dict[str, Any] = {
        "exaggeration": 1.0, "cfg_weight": 0.3, "temperature": 0.6, "min_p": 0.1, "top_p": 0.9,
        "repetition_penalty": 1.3,
    }  # fmt: skip
    take = say(multilingual, language="fr", **options)
    expected = upstream_multilingual.generate(TEXT, language_id="fr", **options)
    np.testing.assert_array_equal(take.pcm, expected)


def test_guidance_can_be_off_in_the_multilingual_model(multilingual: TinyChatterbox) -> None:
    assert say(multilingual, cfg_weight=0.0).pcm.size > 0


def test_the_multilingual_model_says_a_chunk_again_as_it_said_it_first(
    multilingual: TinyChatterbox,
) -> None:
    t3 = model_of(multilingual).t3
    first = say(multilingual)
    hooks = sum(len(module._forward_hooks) for module in t3.modules())
    for seed in range(4):
        say(multilingual, "Ja.", seed, language="de")
    assert sum(len(module._forward_hooks) for module in t3.modules()) == hooks
    assert t3.tfmr.config._attn_implementation == "sdpa"
    np.testing.assert_array_equal(say(multilingual).pcm, first.pcm)


@pytest.mark.parametrize("text", ["Hi", "I"])
def test_the_shortest_texts_are_spoken(multilingual: TinyChatterbox, text: str) -> None:
    assert say(multilingual, text).pcm.size > 0


@pytest.mark.parametrize("tokens", [3, 4, 5, 6])
@pytest.mark.parametrize("vocabulary", [2, 50])
def test_the_shortest_texts_end_alike_with_either_distribution(tokens: int, vocabulary: int) -> None:
    """Without one check of 0.1.7.post2, the alignment analyzer of chatterbox-tts 0.1.7 fails on such texts."""
    mended, original = analyzers()
    compat.guard_short_texts(original)
    logits = analysed(mended, tokens, vocabulary)
    assert torch.equal(analysed(original, tokens, vocabulary), logits)
    assert (logits[:, -1] == 2**15).any(), "the end was forced, for one reason or the other"


def test_without_the_guard_a_short_text_fails() -> None:
    with pytest.raises(IndexError):
        analysed(analyzers()[1], 5, 50)


def analyzers() -> tuple[Any, Any]:
    """Upstream's alignment analyzer with and without the guard, for any installed version."""
    compat.prepare()
    from chatterbox.models.t3.inference import alignment_stream_analyzer as module

    plain = inspect.getsource(module.AlignmentStreamAnalyzer).replace("= S > 5 and self.complete", "= self.complete")
    made = []
    for source in (plain.replace("repetition = self.complete", "repetition = S > 5 and self.complete"), plain):
        space = dict(vars(module))
        exec(source, space)
        made.append(space["AlignmentStreamAnalyzer"])
    return made[0], made[1]


def analysed(analyzer_class: Any, tokens: int, vocabulary: int) -> torch.Tensor:
    """Return an analyzer's logits for random logits in 16 steps, while attention moves through the text and stays."""
    layers = [SimpleNamespace(self_attn=torch.nn.Identity()) for _ in range(14)]
    analyzer = analyzer_class(SimpleNamespace(layers=layers), None, text_tokens_slice=(4, 4 + tokens), eos_idx=-1)
    random = torch.Generator().manual_seed(tokens)
    made = []
    for step in range(16):
        attention = torch.zeros(tokens + 6 if step == 0 else 1, tokens + 6 + step)
        attention[:, 4 + min(step, tokens - 1)] = 0.9
        analyzer.last_aligned_attns = [attention] * 3
        spoken_last = int(torch.randint(vocabulary, (1,), generator=random))
        made.append(analyzer.step(torch.randn(1, 10, generator=random), next_token=spoken_last))
    return torch.cat(made)


def test_a_language_nobody_knows_is_refused_with_those_that_are_known(multilingual: TinyChatterbox) -> None:
    failure = refusal(multilingual, language="xx")
    assert failure.kind == "invalid_input"
    assert "ar, da, de, el, en" in failure.error and "tr, zh" in failure.error


# -- Chinese ------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def segmenter_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder MODEL_CACHE_DIR with a segmenter that makes each character a word."""
    import srsly

    folder = tmp_path_factory.mktemp("models") / "spacy_ontonotes"
    folder.mkdir()
    features = {"unigram": [], "bigram": [], "feature_to_idx": {"/": 0}, "tag_to_idx": {"B": 0, "I": 1}}
    srsly.write_msgpack(folder / "features.msgpack", features)
    weights = np.array([5.0, -5.0, 5.0, -5.0, 5.0, -5.0])  # of the one feature, then from tag to tag
    np.savez(folder / "weights.npz", sizes=np.array([2, 1]), w=weights)
    return folder.parent


def test_chinese_without_the_segmenters_files_says_so_once_a_take(
    multilingual: TinyChatterbox, no_network: None
) -> None:
    [warning] = say(multilingual, FOREIGN["zh"], language="zh").warnings
    code, _, message = warning.partition(": ")
    assert code == "not_segmented" and message.startswith("Chinese is read without word boundaries: ")
    assert say(multilingual, language="de").warnings == ()


def test_the_segmenter_is_made_of_files_in_the_model_folder_for_chinese_only(
    multilingual_checkpoint: Path, segmenter_files: Path, no_network: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import spacy_pkuseg

    made: list[Any] = []
    real = spacy_pkuseg.pkuseg
    monkeypatch.setattr(spacy_pkuseg, "pkuseg", lambda *rest: made.append(rest) or real(*rest))
    backend = loaded("multilingual", multilingual_checkpoint, segmenter_files)
    say(backend, "Ja.", language="de")
    assert made == []
    assert say(backend, FOREIGN["zh"], language="zh").warnings == ()
    converter = model_of(backend).tokenizer.cangjie_converter
    codes = ["".join(f"[cj_{letter}]" for letter in (*CANGJIE[character], ".")) for character in "天氣"]
    assert converter("天氣") == " ".join(codes)
    assert len(made) == 1
    backend.unload()


def test_a_broken_segmenter_fails_chinese_and_says_what_to_do(
    multilingual: TinyChatterbox, segmenter_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(segmenter_files / "spacy_ontonotes", tmp_path / "spacy_ontonotes")
    (tmp_path / "spacy_ontonotes" / "weights.npz").write_bytes(b"no weights")
    converter = model_of(multilingual).tokenizer.cangjie_converter
    monkeypatch.setattr(converter, "segmenter", find_segmenter(tmp_path))
    failure = refusal(multilingual, FOREIGN["zh"], language="zh")
    assert "unpack it again, or remove it" in failure.error


def test_the_segmenter_is_part_of_the_revision(multilingual_checkpoint: Path, segmenter_files: Path) -> None:
    settings = ChatterboxSettings(model="multilingual", model_path=str(multilingual_checkpoint))
    with_it, without = (
        TinyChatterbox(settings, BackendContext(folder, "cpu")).revision() for folder in (segmenter_files, Path("none"))
    )
    assert with_it != without


# -- Turbo --------------------------------------------------------------------------------------
def test_turbo_is_upstreams_bytes(turbo: TinyChatterbox, upstream_turbo: Upstream) -> None:
    take = say(turbo)
    np.testing.assert_array_equal(take.pcm, upstream_turbo.generate(TEXT))
    assert take.warnings == ()
    np.testing.assert_array_equal(say(turbo).pcm, take.pcm)


def test_turbo_takes_the_options_it_has_and_ignores_the_others(turbo: TinyChatterbox, upstream_turbo: Upstream) -> None:
    options: dict[str, Any] = {"temperature": 0.6, "top_p": 0.8, "repetition_penalty": 1.5}
    ignored = {"exaggeration": 1.0, "cfg_weight": 0.0, "min_p": 0.1}
    expected = upstream_turbo.generate(TEXT, **options)
    np.testing.assert_array_equal(say(turbo, **options, **ignored).pcm, expected)


def uploaded(folder: Path, seconds: float) -> Voice:
    write_recording(folder / f"{seconds}.wav", seconds=seconds, hertz=200.0)
    return Voice("ann", ("en",), f"hash-{seconds}", material=recorded(folder / f"{seconds}.wav"))


def test_turbo_speaks_with_an_uploaded_voice(turbo: TinyChatterbox, tmp_path: Path) -> None:
    own = say(turbo, voice=uploaded(tmp_path, 6.0))
    assert own.pcm.size > 0
    assert own.pcm.size != (builtin := say(turbo)).pcm.size or (own.pcm != builtin.pcm).any()


def test_turbo_says_how_long_a_recording_must_be(turbo: TinyChatterbox, tmp_path: Path) -> None:
    failure = refusal(turbo, voice=uploaded(tmp_path, 4.0))
    assert failure.kind == "invalid_input"
    assert "needs a recording of more than 5 s; that of voice 'ann' has 4.0 s" in failure.error


def test_turbo_says_nothing_to_standard_output(turbo: TinyChatterbox, capfd: pytest.CaptureFixture[str]) -> None:
    say(turbo)
    assert capfd.readouterr().out == ""


# -- an end that is missed ----------------------------------------------------------------------
def test_turbo_is_cut_where_it_finds_no_end(tmp_path: Path) -> None:
    backend = loaded("turbo", make_turbo(tmp_path / "turbo", eos_at=None), tmp_path)
    take = say(backend, "Yes.")
    [warning] = take.warnings
    assert warning.startswith("missed_eos: cut at 75 speech tokens")
    assert take.pcm.size / take.rate == pytest.approx(78 / 25, abs=0.1)  # and three tokens of silence
    backend.unload()
