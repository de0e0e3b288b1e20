"""Locates the files of a model and computes their identity for cache keys."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import msgspec

from backends.chatterbox.models import MODELS, Model
from backends.chatterbox.settings import ChatterboxSettings
from backends.interface import BackendContext, BackendUnavailable

_COMMIT = re.compile(r"[0-9a-f]{40}")
PULL = "run: voxgate models pull chatterbox"
PLACE = (
    "put them there and restart the server; its setting `model_path` names the folder, `model` and `models` the models"
)


class Weights(msgspec.Struct, frozen=True):
    """The files of one model, on disk or still on the hub.

    Args:
        folder: the folder they are in, or will be.
        repo: their repository on the hub; "" for a local folder.
        commit: of that repository; "" for a local folder.
        store: the folder of that repository in MODEL_CACHE_DIR; `folder` itself for a local folder.
    """

    model: Model
    folder: Path
    repo: str
    commit: str
    store: Path

    def missing(self) -> list[str]:
        """List the names of the missing files."""
        return [name for name in self.model.files if not (self.folder / name).is_file()]

    @property
    def absent(self) -> bool:
        """True if files of a local folder are missing: they cannot be downloaded."""
        return not self.commit and bool(self.missing())

    def identity(self) -> str:
        """Return an id of the files: the hub's commit, or a hash of names, sizes and tensor headers of a local folder.

        Raises:
            BackendUnavailable: files of a local folder are missing.
        """
        if self.commit:
            return f"{self.repo}@{self.commit}"
        self.require()
        return hashlib.sha256(repr([_stamp(self.folder / name) for name in self.model.files]).encode()).hexdigest()

    def voice_hash(self) -> str:
        """Return the content hash of the built-in voice."""
        if self.commit:
            return hashlib.sha256(f"{self.identity()}/conds.pt".encode()).hexdigest()
        self.require()
        return hashlib.sha256((self.folder / "conds.pt").read_bytes()).hexdigest()

    def require(self) -> None:
        """Raise BackendUnavailable if files are missing."""
        if missing := self.missing():
            where = f"{self.folder} lacks {', '.join(missing)}"
            if self.commit:
                raise BackendUnavailable(f"the Chatterbox model is not downloaded: {where}", PULL)
            raise BackendUnavailable(where, PLACE)


def locate(settings: ChatterboxSettings, context: BackendContext) -> Weights:
    """Locate the files of the settings' model; looks at the disk only.

    Raises:
        BackendUnavailable: `hub_revision` names a branch that was never downloaded, so its commit is unknown.
    """
    model = MODELS[settings.model]
    if settings.model_path is not None:
        folder = Path(settings.model_path).expanduser()
        return Weights(model, folder, "", "", folder)
    repo, revision, store = source(settings, context)
    if not is_commit(revision):
        ref = store / "refs" / revision
        if not ref.is_file():
            reason = f"revision {revision!r} of {repo} is not downloaded, so its commit is not known"
            raise BackendUnavailable(reason, f"{PULL}; or set hub_revision to a commit of 40 hexadecimal digits")
        revision = ref.read_text().strip()
    return Weights(model, store / "snapshots" / revision, repo, revision, store)


def source(settings: ChatterboxSettings, context: BackendContext) -> tuple[str, str, Path]:
    """Return repository, commit or branch, and the repository's folder in MODEL_CACHE_DIR."""
    model = MODELS[settings.model]
    repo = settings.repo or model.repo
    store = context.model_dir / f"models--{repo.replace('/', '--')}"
    return repo, settings.hub_revision or model.commit, store


def is_commit(revision: str) -> bool:
    """Return whether a revision is a commit, which always means the same files."""
    return _COMMIT.fullmatch(revision) is not None


def _stamp(path: Path) -> tuple[Any, ...]:
    header = b""
    if path.suffix == ".safetensors":
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = file.read(min(length, 16_000_000))
    return path.name, path.stat().st_size, hashlib.sha256(header).hexdigest()
