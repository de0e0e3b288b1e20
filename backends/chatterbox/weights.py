"""Where the files of a model are, how to get them, and what they are called in a cache key."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import msgspec

from backends.chatterbox.models import MODELS, Model
from backends.chatterbox.settings import ChatterboxSettings
from backends.interface import BackendContext, BackendUnavailable, Progress

_COMMIT = re.compile(r"[0-9a-f]{40}")
_BY_HAND = "check network and disk, or set model_path to a folder with the files"


class Weights(msgspec.Struct, frozen=True):
    """The files of one model, on disk or still on the hub.

    Args:
        folder: where they are or will be.
        repo: on the hub; "" for a local folder.
        commit: of that repository; "" for a local folder.
    """

    model: Model
    folder: Path
    repo: str
    commit: str

    def missing(self) -> list[str]:
        """Names of files that are not there."""
        return [name for name in self.model.files if not (self.folder / name).is_file()]

    def identity(self) -> str:
        """Changes when the files do: the hub's commit, or names, sizes and tensor headers of a local folder.

        Raises:
            BackendUnavailable: files of a local folder are missing.
        """
        if self.commit:
            return f"{self.repo}@{self.commit}"
        self.require()
        return hashlib.sha256(repr([_stamp(self.folder / name) for name in self.model.files]).encode()).hexdigest()

    def voice_hash(self) -> str:
        """Content hash of the built-in voice."""
        if self.commit:
            return hashlib.sha256(f"{self.identity()}/conds.pt".encode()).hexdigest()
        self.require()
        return hashlib.sha256((self.folder / "conds.pt").read_bytes()).hexdigest()

    def require(self) -> None:
        """Raises BackendUnavailable when files are missing."""
        if missing := self.missing():
            where = f"{self.folder} lacks {', '.join(missing)}"
            if self.commit:
                raise BackendUnavailable(f"the Chatterbox model is not downloaded: {where}", "unset offline once")
            raise BackendUnavailable(where, "set model_path to a folder with all files of the model")


def locate(settings: ChatterboxSettings, context: BackendContext) -> Weights:
    """Where the files of the chosen model are; looks at the disk only.

    Raises:
        BackendUnavailable: `hub_revision` names a branch that was never downloaded, so nobody knows its commit.
    """
    model = MODELS[settings.model]
    if settings.model_path is not None:
        return Weights(model, Path(settings.model_path).expanduser(), "", "")
    repo = settings.repo or model.repo
    store = context.model_dir / f"models--{repo.replace('/', '--')}"
    revision = settings.hub_revision or model.commit
    if not _COMMIT.fullmatch(revision):
        ref = store / "refs" / revision
        if not ref.is_file():
            reason = f"revision {revision!r} of {repo} is not downloaded, so its commit is not known"
            raise BackendUnavailable(reason, "set hub_revision to a commit of 40 hexadecimal digits")
        revision = ref.read_text().strip()
    return Weights(model, store / "snapshots" / revision, repo, revision)


def fetch(weights: Weights, settings: ChatterboxSettings, context: BackendContext, progress: Progress) -> None:
    """Download what is missing, file by file; a cut download is resumed.

    Raises:
        BackendUnavailable: the hub does not give the files, or may not be asked.
    """
    if settings.offline or not weights.commit:
        weights.require()
    missing = weights.missing()
    for nth, name in enumerate(missing):
        progress(0.05 + 0.35 * nth / len(missing), f"downloading {name} ({nth + 1} of {len(missing)})")
        _download(weights, name, context)


def _download(weights: Weights, name: str, context: BackendContext) -> None:
    import httpx
    import huggingface_hub
    from huggingface_hub import errors

    from_where = f"{name} of {weights.repo} at {weights.commit[:10]}"
    try:
        huggingface_hub.hf_hub_download(
            weights.repo, name, revision=weights.commit, cache_dir=context.model_dir, token=context.hf_token or None
        )
    except errors.LocalEntryNotFoundError as error:
        raise BackendUnavailable(f"the hub cannot be reached for {from_where}", _BY_HAND) from error
    except (errors.GatedRepoError, errors.RepositoryNotFoundError) as error:
        reason = f"the hub refuses {from_where}: {_first_line(error)}"
        raise BackendUnavailable(reason, "set HF_TOKEN to a token that may read it, or repo to another") from error
    except (errors.EntryNotFoundError, errors.RevisionNotFoundError) as error:
        raise BackendUnavailable(f"the hub has no {from_where}", "check repo and hub_revision") from error
    except (OSError, httpx.HTTPError) as error:
        raise BackendUnavailable(f"{from_where} cannot be downloaded: {_first_line(error)}", _BY_HAND) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _stamp(path: Path) -> tuple[Any, ...]:
    header = b""
    if path.suffix == ".safetensors":
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = file.read(min(length, 16_000_000))
    return path.name, path.stat().st_size, hashlib.sha256(header).hexdigest()
