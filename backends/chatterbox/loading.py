"""Loads a published model and names the file or tensor that is wrong."""

from __future__ import annotations

import importlib
import json
import pickle
from pathlib import Path
from typing import Any

import torch

from backends.chatterbox import compat
from backends.chatterbox.device import is_lost, is_out_of_memory
from backends.chatterbox.weights import Weights
from backends.interface import BackendUnavailable

_CURE = "remove the file, so that it is downloaded again, or set model_path to a folder with the published files"


def load_model(weights: Weights, device: torch.device) -> Any:
    """Load upstream's model to the device, in eval mode.

    Raises:
        BackendUnavailable: a file is missing or broken, or a tensor is missing or misshapen.
    """
    weights.require()
    module, name = weights.model.loader
    loader: Any = getattr(importlib.import_module(module), name)
    compat.patch_upstream()
    broken = _safetensors_error()
    try:
        with compat.files_from(weights.folder):
            model = loader.from_local(weights.folder, str(device))
    except pickle.UnpicklingError as error:  # its message advises to trust the file
        raise BackendUnavailable(
            f"a file of {weights.folder} cannot be loaded: it holds more than tensors", _CURE
        ) from error
    except (RuntimeError, MemoryError, KeyError, OSError, EOFError, ValueError, AssertionError, broken) as error:
        if is_lost(error):
            raise  # a fault of the device
        if is_out_of_memory(error):
            reason = f"there is not enough memory for the model on {device}, or on the host while it loads"
            raise BackendUnavailable(reason, "free memory there or set DEVICE") from error
        raise BackendUnavailable(f"the model in {weights.folder} cannot be loaded: {_brief(error)}", _CURE) from error
    _check_mel_decoder(model, weights)
    if model.conds is None:
        raise BackendUnavailable(f"{weights.folder}/conds.pt holds no voice", _CURE)
    if hasattr(model, "norm_loudness"):
        compat.keep_float32_loudness(model)
    return model


def _check_mel_decoder(model: Any, weights: Weights) -> None:
    """Check the English mel decoder's tensors: upstream ignores missing ones, which stay random and sound as noise."""
    path = weights.folder / "s3gen.safetensors"
    if path.name not in weights.model.files:
        return
    optional = set(getattr(model.s3gen, "ignore_state_dict_missing", ()))
    lacks = sorted(set(model.s3gen.state_dict()) - _tensor_names(path) - optional)
    if lacks:
        more = f" and {len(lacks) - 1} more" if len(lacks) > 1 else ""
        raise BackendUnavailable(f"{path} lacks the tensor {lacks[0]}{more}", _CURE)


def _tensor_names(path: Path) -> set[str]:
    with path.open("rb") as file:
        header = file.read(int.from_bytes(file.read(8), "little"))
    return set(json.loads(header)) - {"__metadata__"}


def _safetensors_error() -> type[Exception]:
    error: type[Exception] = importlib.import_module("safetensors").SafetensorError
    return error


def _brief(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:2])[:300]}"
