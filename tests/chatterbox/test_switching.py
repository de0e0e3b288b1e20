"""English, German and what cannot be loaded in one feed: each chunk sounds as its model alone says it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.chatterbox_feed import ListFeed, chunk, spoken
from support.running import running

from backends.chatterbox import ChatterboxSettings
from backends.chatterbox.models import MODELS
from backends.interface import BackendContext, Chunk, Take
from benchmarks.decoding import TEXTS
from benchmarks.tiny import TinyChatterbox
from gateway.settings.model import EndpointSettings

GERMAN = "Ein Satz auf Deutsch."


@pytest.fixture(scope="module")
def folders(
    checkpoint: Path, multilingual_checkpoint: Path, turbo_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """One for each model; Turbo's files are there and empty."""
    made = tmp_path_factory.mktemp("models")
    (made / "english").symlink_to(checkpoint)
    (made / "multilingual").symlink_to(multilingual_checkpoint)
    (made / "turbo").mkdir()
    for path in turbo_checkpoint.iterdir():
        (made / "turbo" / path.name).touch()
    return made


def backend(folder: Path, *models: str) -> TinyChatterbox:
    first, *more = models
    settings = ChatterboxSettings(model=first, models=tuple(more) or None, model_path=str(folder))  # type: ignore[arg-type]
    made = TinyChatterbox(settings, BackendContext(Path("unused"), "cpu"))
    made.load(lambda *_: None)
    return made


def alone(folder: Path, model: str, one: Chunk) -> Take:
    made = backend(folder / model, model)
    takes, _ = spoken(made.synthesize(ListFeed([one])))
    made.unload()
    return takes[one.id]


def test_models_share_a_worker_and_a_feed(folders: Path) -> None:
    made = backend(folders, "english", "multilingual", "turbo")
    english, german = chunk(0, TEXTS[0]), chunk(1, GERMAN, language="de")
    feed = ListFeed(
        [english, german, chunk(2, TEXTS[1]), chunk(3, TEXTS[2], model="turbo"), chunk(4, GERMAN, language="de"),
         chunk(5, TEXTS[2], model="multilingual")]
    )  # fmt: skip
    feed.unwanted.add(4)
    takes, failures = spoken(made.synthesize(feed))
    made.unload()
    assert sorted(takes) == [0, 1, 2, 5] and sorted(failures) == [3]
    assert failures[3].kind == "unavailable" and failures[3].error.startswith("the model in ")
    assert 4 in feed.told
    np.testing.assert_array_equal(takes[0].pcm, alone(folders, "english", english).pcm)
    np.testing.assert_array_equal(takes[1].pcm, alone(folders, "multilingual", german).pcm)


def test_what_a_server_may_load_is_what_it_says(folders: Path) -> None:
    def asked(*models: str) -> TinyChatterbox:
        first, *more = models
        folder = folders if more else folders / first
        settings = ChatterboxSettings(model=first, models=tuple(more) or None, model_path=str(folder))  # type: ignore[arg-type]
        return TinyChatterbox(settings, BackendContext(Path("unused"), "cpu"))

    both = asked("english", "multilingual")
    assert both.capabilities().languages == asked("multilingual").capabilities().languages
    assert both.capabilities().concurrency == 8
    assert both.capabilities().chunk == asked("multilingual").capabilities().chunk
    assert [model.name for model in both.models()] == ["english", "multilingual"]
    assert both.verify() == ()
    revisions = {one.revision() for one in (both, asked("english"), asked("multilingual"))}
    assert len(revisions) == 3
    assert asked("english", "turbo").verify()[0].startswith("turbo: ")


async def test_where_the_endpoint_allows_it_another_backend_speaks_what_needs_a_model_that_is_not_there(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backends.chatterbox.ChatterboxBackend", TinyChatterbox)
    facts = MODELS["english"]
    snapshots = tmp_path / "models" / f"models--{facts.repo.replace('/', '--')}" / "snapshots"
    snapshots.mkdir(parents=True)
    (snapshots / facts.commit).symlink_to(checkpoint)  # the multilingual model is in the same repository
    own = {"models": ["english", "multilingual"], "offline": True, "take_checks": False}
    endpoints = {
        "tests": EndpointSettings(backend="chatterbox", policy={"fallback": ["scripted"]}),
        "strict": EndpointSettings(backend="chatterbox"),
    }
    fields = {"plugins": ("chatterbox", "scripted"), "backends": {"chatterbox": own}, "endpoints": endpoints}
    fields |= {"device": "cpu", "model_cache_dir": tmp_path / "models"}
    async with running(tmp_path / "data", **fields) as caller:
        german = await caller.say(GERMAN, language="de")
        assert german["output"]["backend"] == "scripted"
        english = await caller.say(TEXTS[0])
        assert english["output"]["backend"] == "chatterbox"
        caller.endpoint = "strict"
        failed = await caller.say(GERMAN, language="de")
        assert failed["status"] == "FAILED"
        assert failed["error"].startswith("Model not initialized: the Chatterbox model is not downloaded: ")
        assert "lacks ve.pt" in failed["error"] and "voxgate models pull chatterbox" in failed["error"]
