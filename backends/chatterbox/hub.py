"""Downloads a model's files from the Hugging Face hub and checks their content."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backends.chatterbox.weights import Weights
from backends.interface import BackendUnavailable

Bytes = Callable[[int, int | None], None]
"""A function called with the bytes of a file that have arrived, and its size if the hub tells it."""

_BY_HAND = "check the network, or set model_path to a folder with the files"
_BLOCK = 1 << 20
_SHA256_HEX, _GIT_HEX = 64, 40


def offline() -> bool:
    """Return whether HF_HUB_OFFLINE forbids requests to the hub."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def download(weights: Weights, name: str, revision: str, token: str | None, report: Bytes) -> Path:
    """Download one file, resuming after a broken connection. A file that is present is kept.

    Args:
        revision: a commit or a branch.

    Returns:
        The path of the file.

    Raises:
        BackendUnavailable: the hub refuses it, the disk is full or read-only, or its content is wrong.
    """
    os.environ.setdefault("HF_HUB_DISABLE_XET", "1")  # Xet's cache is outside MODEL_CACHE_DIR; plain HTTP resumes too
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError as error:
        raise BackendUnavailable("huggingface_hub is not installed", "pip install 'voxgate[chatterbox]'") from error

    network: type[Exception] = errors.HTTPError  # of the HTTP client that this version of the library uses
    try:
        path = Path(
            huggingface_hub.hf_hub_download(
                weights.repo,
                name,
                revision=revision,
                cache_dir=weights.store.parent,
                endpoint=os.environ.get("HF_ENDPOINT"),
                token=token or None,
                tqdm_class=_reporting(report),
            )
        )
    except (OSError, network) as error:
        raise _unavailable(error, errors, f"{name} of {weights.repo} at {revision[:10]}", weights.store) from error
    if not intact(path):
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise BackendUnavailable(f"{name} of {weights.repo} arrived with another hash from the hub", "try again")
    return path


def intact(path: Path) -> bool:
    """Return whether a downloaded file has the content of the hash in its cache name; True if it has no such name."""
    blob = path.resolve()
    wanted = blob.name
    if blob.parent.name != "blobs" or len(wanted) not in (_SHA256_HEX, _GIT_HEX):
        return True  # a file system without links: only the size was checked, by the download
    digest = hashlib.sha256()
    if len(wanted) == _GIT_HEX:
        digest = hashlib.sha1(f"blob {blob.stat().st_size}\0".encode(), usedforsecurity=False)
    with blob.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest() == wanted


def _unavailable(error: Exception, errors: Any, what: str, store: Path) -> BackendUnavailable:
    """Translate an error of the hub's library into a reason and a cure."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.LocalEntryNotFoundError):
        return BackendUnavailable(f"the hub cannot be reached for {what}", _BY_HAND)
    if isinstance(error, errors.RevisionNotFoundError):
        return BackendUnavailable(f"the hub has no {what}: no such revision", "check repo and hub_revision")
    if isinstance(error, errors.EntryNotFoundError):
        return BackendUnavailable(f"the hub has no {what}", "check repo and hub_revision")
    if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 403, 404):
        cure = "set HF_TOKEN to a token that may read it, or repo to another"
        return BackendUnavailable(f"the hub refuses {what} ({status})", cure)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        cure = f"free some space in {store.parent}, or set MODEL_CACHE_DIR"
        return BackendUnavailable(f"no space on the disk for {what}", cure)
    if isinstance(error, PermissionError):
        return BackendUnavailable(f"{store.parent} cannot be written", "set MODEL_CACHE_DIR to a folder of yours")
    return BackendUnavailable(f"{what} cannot be downloaded: {_first_line(error)}", _BY_HAND)


def _reporting(report: Bytes) -> type:
    """Build a progress bar class for the hub's library; it draws nothing and calls `report`."""

    class Bar:
        def __init__(self, *_: Any, total: int | None = None, initial: int = 0, **__: Any) -> None:
            self.total = total
            self.n = initial

        def __enter__(self) -> Bar:
            report(self.n, self.total)
            return self

        def __exit__(self, *_: Any) -> None:
            """Do nothing: no bar was drawn."""

        def update(self, n: int = 1) -> None:
            self.n += n
            report(self.n, self.total)

    return Bar


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
