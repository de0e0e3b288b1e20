"""Lists, downloads and checks the model files."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import msgspec

from backends.chatterbox import hub
from backends.chatterbox.models import MODELS
from backends.chatterbox.settings import ChatterboxSettings
from backends.chatterbox.weights import PLACE, PULL, Weights, is_commit, locate, source
from backends.interface import BackendContext, BackendUnavailable, ModelFile, ModelFiles, Progress


def list_files(settings: ChatterboxSettings, context: BackendContext) -> ModelFiles:
    """List the files of the settings' model; looks at the disk only."""
    name, wanted = settings.model, MODELS[settings.model].files
    try:
        weights = locate(settings, context)
    except BackendUnavailable:  # a branch that was never downloaded
        repo, branch, store = source(settings, context)
        return ModelFiles(name, f"{repo}@{branch}", store, tuple(ModelFile(file, None) for file in wanted))
    origin = f"{weights.repo}@{weights.commit[:10]}" if weights.commit else str(weights.folder)
    cure = PLACE if not weights.commit else PULL if settings.offline or hub.offline() else ""
    files = tuple(ModelFile(file, _size(weights.folder / file)) for file in wanted)
    return ModelFiles(name, origin, weights.folder, files, cure)


def fetch(weights: Weights, context: BackendContext, progress: Progress, *, forbidden: bool) -> None:
    """Download the missing files, one after the other.

    Args:
        progress: gets the share of all missing files, and the name of the present one.
        forbidden: the hub must not be asked.

    Raises:
        BackendUnavailable: a file cannot be downloaded.
    """
    if forbidden or hub.offline() or not weights.commit:
        weights.require()
    missing = weights.missing()
    for nth, name in enumerate(missing):
        _fetch(weights, name, weights.commit, context, _share(progress, name, nth, len(missing)))


def pull(settings: ChatterboxSettings, context: BackendContext, progress: Progress) -> None:
    """Download missing files, and newer ones if `hub_revision` names a branch. The setting `offline` does not apply.

    Raises:
        BackendUnavailable: a file cannot be downloaded.
    """
    if settings.model_path is not None:
        locate(settings, context).require()
        return
    if hub.offline():
        raise BackendUnavailable("HF_HUB_OFFLINE forbids to ask the hub", "unset it")
    repo, revision, store = source(settings, context)
    if not is_commit(revision):
        # Downloading any file makes the library store the branch's commit, which `locate` then reads.
        model = MODELS[settings.model]
        name = min(model.files, key=len)
        unplaced = Weights(model, store, repo, revision, store)
        _fetch(unplaced, name, revision, context, _share(progress, name, 0, len(model.files)))
    fetch(locate(settings, context), context, progress, forbidden=False)


def verify(settings: ChatterboxSettings, context: BackendContext) -> tuple[str, ...]:
    """Read every file and return the faults, one line each."""
    try:
        weights = locate(settings, context)
    except BackendUnavailable as error:
        return (str(error),)
    return tuple(f"{name} {fault}" for name in weights.model.files if (fault := _fault(weights.folder / name)))


def _fetch(weights: Weights, name: str, revision: str, context: BackendContext, report: hub.Bytes) -> None:
    report(0, None)
    hub.download(weights, name, revision, context.hf_token, report)


def _share(progress: Progress, name: str, nth: int, of: int) -> hub.Bytes:
    def report(have: int, total: int | None) -> None:
        share = min(have / total, 1.0) if total else 0.0
        size = f", {have // 1_000_000} of {total // 1_000_000} MB" if total else ""
        progress((nth + share) / of, f"downloading {name} ({nth + 1} of {of}){size}")

    return report


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _fault(path: Path) -> str:
    if not path.is_file():
        return "is missing"
    if not hub.intact(path):
        return "is not what was downloaded"
    match path.suffix:
        case ".safetensors":
            return _safetensors_fault(path)
        case ".json":
            return _json_fault(path)
        case ".pt":
            return "" if zipfile.is_zipfile(path) else "is no PyTorch file"
    return ""


def _json_fault(path: Path) -> str:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return "is no JSON"
    return ""


class _Tensor(msgspec.Struct):
    data_offsets: tuple[int, int] = (0, 0)


def _safetensors_fault(path: Path) -> str:
    """Check header and size of a safetensors file. Source: https://github.com/huggingface/safetensors."""
    have = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= have:
            return "is no safetensors file"
        try:
            tensors = msgspec.json.decode(file.read(length), type=dict[str, _Tensor])
        except msgspec.DecodeError:
            return "is no safetensors file"
    expected = 8 + length + max((tensor.data_offsets[1] for tensor in tensors.values()), default=0)
    return "" if have == expected else f"has {have} bytes instead of {expected}"
