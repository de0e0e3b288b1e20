"""Chunks of two models and of one that cannot be loaded, in one feed: each sounds as with its model alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.chatterbox_feed import ListFeed, chunk, spoken
from support.command import command
from support.running import running

from backends.chatterbox import ChatterboxSettings
from backends.chatterbox.models import MODELS
from backends.interface import BackendContext, BackendUnavailable, Chunk, Take
from benchmarks.decoding import TEXTS
from benchmarks.tiny import TinyChatterbox
from gateway.settings.model import EndpointSettings

GERMAN = "Ein Satz auf Deutsch."


@pytest.fixture(scope="module")
def folders(
    checkpoint: Path, multilingual_checkpoint: Path, turbo_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder for each model; Turbo's files are empty."""
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


# -- a folder without the files of one of them ----------------------------------------------------
@pytest.fixture
def half(checkpoint: Path, tmp_path: Path) -> Path:
    """A folder with the English model's files and an empty one for the multilingual model."""
    made = tmp_path / "half"
    made.mkdir()
    (made / "english").symlink_to(checkpoint)
    (made / "multilingual").mkdir()
    return made


@pytest.mark.parametrize("first", ["english", "multilingual"])
def test_a_model_whose_files_are_not_there_leaves_the_others_alone(
    half: Path, multilingual_checkpoint: Path, first: str
) -> None:
    second = "multilingual" if first == "english" else "english"
    made = backend(half, first, second)
    said = made.revision()
    feed = [chunk(0, TEXTS[0], model="english"), chunk(1, GERMAN, language="de"), chunk(2, TEXTS[1], model="english")]
    takes, failures = spoken(made.synthesize(ListFeed(feed)))
    assert sorted(takes) == [0, 2] and sorted(failures) == [1]
    assert failures[1].kind == "unavailable"
    folder = half / "multilingual"
    assert failures[1].error.startswith(f"{folder} lacks ve.pt, t3_mtl23ls_v2.safetensors, s3gen.pt, ")
    assert "put them there and restart the server" in failures[1].error
    np.testing.assert_array_equal(takes[0].pcm, alone(half, "english", feed[0]).pcm)
    folder.rmdir()
    folder.symlink_to(multilingual_checkpoint)  # cache keys were made while this model was missing
    assert made.revision() != said
    made._engine._broken.clear()  # type: ignore[union-attr] - end the 30 s until it is tried again
    _, failures = spoken(made.synthesize(ListFeed(feed[1:2])))
    assert failures[1].error == f"the files in {folder} appeared or changed after the start (restart the server)"
    made.unload()
    assert len({voice.content_hash for voice in made.voices()}) == 1


def test_without_the_files_of_any_model_the_backend_is_missing(half: Path) -> None:
    (half / "english").unlink()
    settings = ChatterboxSettings(models=("multilingual",), model_path=str(half))
    made = TinyChatterbox(settings, BackendContext(Path("unused"), "cpu"))
    for asked in (made.voices, made.revision):
        with pytest.raises(BackendUnavailable, match=f"{half}/english lacks ve.safetensors"):
            asked()


async def test_a_job_for_a_model_whose_files_are_not_there_says_what_to_do(
    half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backends.chatterbox.ChatterboxBackend", TinyChatterbox)
    own = {"models": ["english", "multilingual"], "model_path": str(half), "take_checks": False}
    endpoints = {
        "tests": EndpointSettings(backend="chatterbox", policy={"fallback": ["scripted"]}),
        "strict": EndpointSettings(backend="chatterbox"),
    }
    fields = {"plugins": ("chatterbox", "scripted"), "backends": {"chatterbox": own}, "endpoints": endpoints}
    async with running(tmp_path / "data", device="cpu", **fields) as caller:
        assert (await caller.say(TEXTS[0]))["output"]["backend"] == "chatterbox"
        assert (await caller.say(GERMAN, language="de"))["output"]["backend"] == "scripted"
        caller.endpoint = "strict"
        failed = await caller.say(GERMAN, language="de")
        assert failed["status"] == "FAILED"
        assert failed["error"].startswith(f"Model not initialized: {half}/multilingual lacks ve.pt, ")


def test_a_model_whose_files_are_not_there_is_told_by_command(half: Path, tmp_path: Path) -> None:
    settings = {
        "VOXGATE_PORT": "0",
        "VOXGATE_PLUGINS": "chatterbox",
        "VOXGATE_BACKENDS__CHATTERBOX__MODELS": "english,multilingual",
        "VOXGATE_BACKENDS__CHATTERBOX__MODEL_PATH": str(half),
    }
    rows = json.loads(command(["backends", "list", "--json"], tmp_path, settings).stdout)
    [row] = [row for row in rows if row["name"] == "chatterbox"]
    assert row["state"] == "found" and "de" in row["languages"]
    assert f"the model multilingual cannot speak: {half}/multilingual lacks ve.pt, " in row["remark"]
    assert "restart the server" in row["remark"]
    looked = command(["doctor", "--json"], tmp_path, settings)
    [words] = [one["words"] for one in json.loads(looked.stdout) if one["level"] == "warning"]
    assert looked.returncode == 0 and words in row["remark"]


def test_offline_without_any_model_is_a_problem_to_the_doctor(tmp_path: Path) -> None:
    settings = {"VOXGATE_PORT": "0", "VOXGATE_PLUGINS": "chatterbox", "VOXGATE_BACKENDS__CHATTERBOX__OFFLINE": "true"}
    looked = command(["doctor", "--json"], tmp_path, settings)
    assert looked.returncode == 2
    [problem] = [one["words"] for one in json.loads(looked.stdout) if one["level"] == "problem"]
    assert "the model english cannot speak: " in problem and "voxgate models pull chatterbox" in problem
