"""Downloads from the hub: the library's real code against a stand-in hub, in the real worker of a real gateway."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.command import command
from support.disks import disk
from support.hub import COMMIT, REPO, Hub, hub_of
from support.running import Caller, running

from backends.chatterbox import ChatterboxBackend, ChatterboxSettings
from backends.chatterbox.models import MODELS
from backends.interface import BackendContext, BackendUnavailable
from benchmarks.tiny import TinyChatterbox
from gateway.settings.model import EndpointSettings

TEXT = "Here is a sentence."
MODEL = "t3_cfg.safetensors"
FILES = {"ve.safetensors", MODEL, "s3gen.safetensors", "tokenizer.json", "conds.pt"}
GUARD_S = 180


@pytest.fixture(scope="module")
def published(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint's files as a repository has them."""
    folder = tmp_path_factory.mktemp("published")
    for name in FILES:
        (folder / name).symlink_to(checkpoint / name)
    return folder


@pytest.fixture
def hub(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_of(published) as found:
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "nobody"))  # no token and no cache of the user
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr("backends.chatterbox.ChatterboxBackend", TinyChatterbox)
        yield found


def backend(folder: Path, token: str | None = None, **settings: Any) -> ChatterboxBackend:
    settings = {"repo": REPO, "hub_revision": COMMIT, **settings}
    return ChatterboxBackend(ChatterboxSettings(**settings), BackendContext(folder, "cpu", hf_token=token))


@asynccontextmanager
async def gateway(tmp_path: Path, own: dict[str, Any] | None = None, **fields: Any) -> AsyncIterator[Caller]:
    own = {"repo": REPO, "hub_revision": COMMIT, "min_workers": 0, "take_checks": False, **(own or {})}
    fields = {"model_cache_dir": tmp_path / "models", "device": "cpu", **fields}
    async with running(
        tmp_path / "data", plugins=("chatterbox", "hibari"), backends={"chatterbox": own}, **fields
    ) as caller:
        yield caller


async def health(caller: Caller) -> dict[str, Any]:
    answer = (await caller.http.get(f"/v2/{caller.endpoint}/health")).json()
    return next(dict(one) for one in answer["backends"] if one["name"] == "chatterbox")


async def spoken_in_the_end(caller: Caller) -> dict[str, Any]:
    """Submit until the backend has tried again: jobs during its pause are refused at once."""
    async with asyncio.timeout(GUARD_S):
        while True:
            job = await caller.say(TEXT)
            if job["status"] == "COMPLETED":
                return job
            await asyncio.sleep(0.2)


async def test_a_job_says_what_is_downloaded_and_is_spoken_when_it_is_there(hub: Hub, tmp_path: Path) -> None:
    hub.gate[MODEL] = threading.Event()
    hub.token = "hf_secret"
    async with gateway(tmp_path, hf_token="hf_secret") as caller:
        job = await caller.run(TEXT)
        async with asyncio.timeout(GUARD_S):
            while f"downloading {MODEL}" not in (waiting := await caller.status(job)).get("reason", ""):
                await asyncio.sleep(0.05)
        assert waiting["status"] == "IN_QUEUE"
        assert f"downloading {MODEL} (2 of 5)" in waiting["reason"]
        told = await health(caller)
        assert told["state"] == "loading" and MODEL in told["reason"]
        assert 5 <= told["loading_percent"] < 40
        hub.gate[MODEL].set()
        spoken = await caller.until(job, within_s=GUARD_S)
        assert spoken["status"] == "COMPLETED", spoken
        assert spoken["output"]["backend"] == "chatterbox"
    folder = tmp_path / "models" / f"models--{REPO.replace('/', '--')}" / "snapshots" / COMMIT
    assert {path.name for path in folder.iterdir()} == FILES
    assert not list((tmp_path / "models").rglob("*.incomplete"))
    asked = len(hub.asked)
    async with gateway(tmp_path) as caller:
        again = await caller.until(await caller.run("Another sentence is here."), within_s=GUARD_S)
        assert again["status"] == "COMPLETED"
    assert len(hub.asked) == asked


async def test_a_job_says_which_further_model_is_downloaded_and_that_time_is_delay(
    hub: Hub, published: Path, multilingual_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = MODELS["multilingual"]
    monkeypatch.setattr("support.hub.REPO", facts.repo)
    monkeypatch.setattr("support.hub.COMMIT", facts.commit)
    hub.folder = tmp_path / "published"
    hub.folder.mkdir()
    for path in (*published.iterdir(), *multilingual_checkpoint.iterdir()):
        (hub.folder / path.name).unlink(missing_ok=True)  # a conds.pt for both, as on the hub
        (hub.folder / path.name).symlink_to(path)
    gate = hub.gate["t3_mtl23ls_v2.safetensors"] = threading.Event()
    own = {"repo": facts.repo, "hub_revision": facts.commit, "models": ["english", "multilingual"]}
    async with gateway(tmp_path, own) as caller:
        assert (await caller.until(await caller.run(TEXT), within_s=GUARD_S))["status"] == "COMPLETED"
        german = await caller.run("Ein Satz auf Deutsch.", language="de")
        english = await caller.run("Another sentence is here.")
        async with asyncio.timeout(GUARD_S):
            for job in (german, english):
                while "downloading t3_mtl" not in (waiting := await caller.status(job)).get("reason", ""):
                    await asyncio.sleep(0.05)
                assert waiting["reason"].startswith("loading ") and "(2 of 5)" in waiting["reason"]
        told = await health(caller)
        assert told["state"] == "loading" and "downloading t3_mtl" in told["reason"]
        assert 5 <= told["loading_percent"] < 40
        await asyncio.sleep(3)  # less than the download takes
        gate.set()
        for job in (german, english):
            spoken = await caller.until(job, within_s=GUARD_S)
            assert spoken["output"]["backend"] == "chatterbox", spoken
            assert spoken["delayTime"] >= 3000
        assert (await health(caller))["state"] == "ready"


async def test_without_a_network_what_was_downloaded_is_enough(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend(tmp_path / "models").pull(lambda *_: None)
    asked = len(hub.asked)
    hub.broken = True
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    async with gateway(tmp_path, {"offline": True}) as caller:
        assert (await caller.say(TEXT))["status"] == "COMPLETED"
    assert len(hub.asked) == asked


def token_is_wrong(hub: Hub) -> None:
    hub.token = "hf_another"


def repo_is_gone(hub: Hub) -> None:
    hub.no_repo = True


def file_is_gone(hub: Hub) -> None:
    hub.gone.add(MODEL)


def down(hub: Hub) -> None:
    hub.broken = True


def changed(hub: Hub) -> None:
    hub.changed.add(MODEL)


TROUBLES: list[tuple[Callable[[Hub], None], str, str]] = [
    (token_is_wrong, f"the hub refuses conds.pt of {REPO} at 0123456789 (401)", "set HF_TOKEN"),
    (repo_is_gone, f"the hub refuses conds.pt of {REPO} at 0123456789 (404)", "set HF_TOKEN"),
    (file_is_gone, f"the hub has no {MODEL} of {REPO} at 0123456789", "check repo and hub_revision"),
    (down, "the hub cannot be reached for ", "check the network"),
    (changed, f"{MODEL} of {REPO} arrived with another hash from the hub", "try again"),
]


@pytest.mark.parametrize(("trouble", "reason", "cure"), TROUBLES, ids=lambda value: getattr(value, "__name__", ""))
def test_what_the_hub_does_not_give_is_said_with_its_cure_and_had_later(
    hub: Hub, tmp_path: Path, trouble: Callable[[Hub], None], reason: str, cure: str
) -> None:
    trouble(hub)
    with pytest.raises(BackendUnavailable) as raised:
        backend(tmp_path).pull(lambda *_: None)
    assert reason.replace("conds.pt", "ve.safetensors") in raised.value.reason
    assert cure in raised.value.cure
    hub.heal()
    backend(tmp_path).pull(lambda *_: None)
    assert backend(tmp_path).verify() == ()


def test_a_file_cut_twice_is_resumed_where_it_was_cut(hub: Hub, tmp_path: Path) -> None:
    size = (hub.folder / "s3gen.safetensors").stat().st_size
    block = 10 * 1024 * 1024  # the library keeps whole blocks of this size
    assert size > 2 * block, "the tiny model has become too small for this test"
    hub.cut_after["s3gen.safetensors"] = [block + 1000, 2 * block + 1000]
    backend(tmp_path).pull(lambda *_: None)
    assert hub.ranges("s3gen.safetensors") == ["", f"bytes={block}-", f"bytes={2 * block}-"]
    assert backend(tmp_path).verify() == ()


def test_a_file_that_never_comes_whole_is_given_up_and_not_kept(hub: Hub, tmp_path: Path) -> None:
    hub.short[MODEL] = 1000
    with pytest.raises(BackendUnavailable, match=f"{MODEL} of {REPO} at 0123456789 cannot be downloaded: "):
        backend(tmp_path).pull(lambda *_: None)
    assert backend(tmp_path).models()[0].missing == (MODEL, "s3gen.safetensors", "tokenizer.json", "conds.pt")
    assert not list(tmp_path.rglob("*.incomplete"))


def test_a_full_disk_is_named_with_its_cure(hub: Hub, tmp_path: Path) -> None:
    full = pytest.raises(BackendUnavailable, match=r"no space on the disk for .*free some space in")
    with disk(tmp_path / "models", size_mb=1) as small, full:
        backend(small.path).pull(lambda *_: None)


def test_progress_counts_bytes_and_never_goes_back(hub: Hub, tmp_path: Path) -> None:
    told: list[tuple[float, str]] = []
    backend(tmp_path).pull(lambda share, text: told.append((share, text)))
    shares = [share for share, _ in told]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1
    size = (hub.folder / "s3gen.safetensors").stat().st_size // 1_000_000
    assert (0.6, f"downloading s3gen.safetensors (3 of 5), {size} of {size} MB") in [(round(s, 2), t) for s, t in told]


async def test_a_job_whose_model_cannot_be_had_fails_with_reason_and_cure_and_the_next_is_spoken_once_it_can(
    hub: Hub, tmp_path: Path
) -> None:
    hub.token = "hf_another"
    async with gateway(tmp_path) as caller:
        job = await caller.say(TEXT)
        assert job["status"] == "FAILED"
        assert job["error"].startswith("Model not initialized: the hub refuses ve.safetensors")
        assert "HF_TOKEN" in job["error"]
        told = await health(caller)
        assert told["state"] == "unavailable" and "refuses" in told["reason"] and "HF_TOKEN" in told["cure"]
        hub.heal()
        await spoken_in_the_end(caller)


async def test_a_full_disk_fails_jobs_until_there_is_room(hub: Hub, tmp_path: Path) -> None:
    with disk(tmp_path / "models", size_mb=128) as small:
        small.fill()
        async with gateway(tmp_path) as caller:
            job = await caller.say(TEXT)
            assert job["status"] == "FAILED"
            assert "Model not initialized: no space on the disk for ve.safetensors" in job["error"]
            small.clear()
            await spoken_in_the_end(caller)


async def test_where_the_endpoint_allows_it_another_backend_speaks_instead(hub: Hub, tmp_path: Path) -> None:
    hub.gone.add(MODEL)
    endpoint = EndpointSettings(backend="chatterbox", policy={"fallback": ["hibari"]})
    async with gateway(tmp_path, endpoints={"tests": endpoint}) as caller:
        job = await caller.say(TEXT)
        assert job["status"] == "COMPLETED", job
        assert job["output"]["backend"] == "hibari"


async def test_offline_without_files_fails_jobs_and_asks_nobody(hub: Hub, tmp_path: Path) -> None:
    async with gateway(tmp_path, {"offline": True}) as caller:
        job = await caller.say(TEXT)
        assert "Model not initialized: the Chatterbox model is not downloaded" in job["error"]
        assert "voxgate models pull chatterbox" in job["error"]
    assert hub.asked == []


async def test_a_gpu_that_is_not_there_is_said_before_anything_is_downloaded(hub: Hub, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("says what happens without a GPU")
    async with gateway(tmp_path, device="cuda") as caller:
        job = await caller.say(TEXT)
        assert "Model not initialized: DEVICE is 'cuda', but " in job["error"]
    assert hub.asked == []


# -- the command ----------------------------------------------------------------------------------
def voxgate(folder: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    settings = {
        "VOXGATE_PLUGINS": '["chatterbox", "hibari"]',
        "VOXGATE_BACKENDS__CHATTERBOX__REPO": REPO,
        "VOXGATE_BACKENDS__CHATTERBOX__HUB_REVISION": COMMIT,
        **changes,
    }
    return command(("models", *arguments), folder, settings)


def test_models_are_listed_pulled_and_verified_by_command(hub: Hub, tmp_path: Path) -> None:
    before = json.loads(voxgate(tmp_path, "list", "--json").stdout)
    assert [(one["backend"], one["model"], len(one["missing"])) for one in before] == [("chatterbox", "english", 5)]
    hub.token = "hf_secret"
    refused = voxgate(tmp_path, "pull", "chatterbox")
    assert refused.returncode == 2 and "HF_TOKEN" in refused.stderr and len(refused.stderr.splitlines()) == 2
    pulled = voxgate(tmp_path, "pull", "chatterbox", HF_TOKEN="hf_secret")
    assert pulled.returncode == 0, pulled.stderr
    assert "downloading ve.safetensors (1 of 5)" in pulled.stderr and "english is here" in pulled.stdout
    assert "5 of 5" in voxgate(tmp_path, "list").stdout
    assert voxgate(tmp_path, "verify").stdout == "chatterbox: all files are whole\n"
    [path] = (tmp_path / "data" / "models").rglob(MODEL)
    whole = path.read_bytes()
    path.resolve().write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    broken = voxgate(tmp_path, "verify")
    assert (broken.returncode, broken.stdout) == (2, f"chatterbox: {MODEL} is not what was downloaded\n")


def test_a_backend_without_model_files_is_refused(tmp_path: Path) -> None:
    refused = voxgate(tmp_path, "pull", "hibari")
    assert refused.returncode == 2 and "hibari has no model files of its own" in refused.stderr


def test_a_branch_is_pulled_and_then_known_by_its_commit(hub: Hub, tmp_path: Path) -> None:
    branch = backend(tmp_path, hub_revision="main")
    assert branch.models()[0].source == f"{REPO}@main" and len(branch.models()[0].missing) == 5
    with pytest.raises(BackendUnavailable, match="voxgate models pull chatterbox"):
        branch.revision()
    branch.pull(lambda *_: None)
    assert branch.revision() == backend(tmp_path).revision()
    assert branch.models()[0].missing == ()


def test_pulling_needs_the_hub_only_for_what_is_missing(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend(tmp_path).pull(lambda *_: None)
    asked = len(hub.asked)
    backend(tmp_path, offline=True).pull(lambda *_: None)
    assert len(hub.asked) == asked
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BackendUnavailable, match="HF_HUB_OFFLINE"):
        backend(tmp_path / "other").pull(lambda *_: None)


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("t3_cfg.safetensors", lambda data: data[:-10], "has {have} bytes instead of {whole}"),
        ("ve.safetensors", lambda data: b"<html>not found</html>", "is no safetensors file"),
        ("tokenizer.json", lambda data: data[: len(data) // 2], "is no JSON"),
        ("conds.pt", lambda data: data[:100], "is no PyTorch file"),
        ("s3gen.safetensors", None, "is missing"),
    ],
)
def test_a_folder_of_ones_own_is_verified_by_what_its_files_say(
    published: Path, tmp_path: Path, name: str, content: Any, fault: str
) -> None:
    for file in FILES:
        (tmp_path / file).symlink_to(published / file)
    own = backend(tmp_path, model_path=str(tmp_path))
    assert own.verify() == ()
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content(whole))
    have = len(content(whole)) if content else 0
    assert own.verify() == (f"{name} {fault.format(have=have, whole=len(whole))}",)


def test_the_stand_in_names_files_as_the_hub_does(hub: Hub) -> None:
    data = (hub.folder / "conds.pt").read_bytes()
    head = httpx.head(f"{hub.url}/{REPO}/resolve/{COMMIT}/conds.pt")
    assert head.headers["x-linked-etag"].strip('"') == hashlib.sha256(data).hexdigest()
