"""The device a worker computes on: choosing it, its data types, and its errors."""

from __future__ import annotations

import os

import torch

from backends.chatterbox.settings import ChatterboxSettings
from backends.interface import BackendUnavailable

_CPU_BUILD = "this PyTorch is a CPU build"
_HAS_BF16 = (8, 0)
"""First CUDA compute capability with bf16 multiplication; older GPUs emulate it, slower than fp32."""


def choose_device(wanted: str) -> torch.device:
    """Choose a device; `auto` means the first CUDA GPU, else the CPU.

    Raises:
        BackendUnavailable: the named device does not exist.
    """
    if wanted == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise BackendUnavailable(f"DEVICE is {wanted!r}", "set it to auto, cuda, cuda:N, cpu or mps") from error
    if device.type == "cuda":
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if found <= (device.index or 0):
            why = _CPU_BUILD if torch.version.cuda is None else f"PyTorch sees {found} CUDA GPUs"
            raise BackendUnavailable(f"DEVICE is {wanted!r}, but {why}", "set DEVICE=auto, or install a CUDA PyTorch")
        return torch.device("cuda", device.index or 0)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise BackendUnavailable("DEVICE is 'mps', but there is no Apple GPU", "set DEVICE=auto")
    return device


def enter(device: torch.device) -> None:
    """Make `device` the current CUDA device of this thread; the default is the first GPU.

    PyTorch uses the current device for some work, such as pinning memory: a worker of another GPU would then occupy
    some hundred megabytes on the first one.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)


def choose_dtype(settings: ChatterboxSettings, device: torch.device) -> torch.dtype:
    """Choose the data type of the token decoder; `deterministic` always means fp32."""
    if settings.deterministic or settings.dtype == "fp32":
        return torch.float32
    if settings.dtype == "bf16" or (device.type == "cuda" and torch.cuda.get_device_capability(device) >= _HAS_BF16):
        return torch.bfloat16
    return torch.float32


def fix_arithmetic(deterministic: bool) -> None:
    """Turn off TF32 and the search for the fastest kernel; with `deterministic`, use deterministic kernels only."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    if deterministic:
        torch.backends.cudnn.deterministic = True
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is first used


_OUT_OF_MEMORY = (
    "can't allocate memory", "not enough memory", "out of memory",
    "_alloc_failed",  # of cuBLAS, cuDNN, cuFFT
    "cublas_status_not_initialized",  # no room for its workspace
    "unable to find an engine", "unable to find a valid cudnn algorithm",  # none whose workspace has room
)  # fmt: skip
_LOST = ("cuda error", "cudnn_status_execution_failed", "cudnn_status_mapping_error", "cufft_exec_failed")
_Lost: type[BaseException] | tuple[()] = getattr(torch, "AcceleratorError", ())


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an allocator failed, on a GPU (PyTorch's, cuBLAS's, cuDNN's, cuFFT's) or on the CPU."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or _contains(error, _OUT_OF_MEMORY)


def is_lost(error: BaseException) -> bool:
    """Return whether the device itself is in error: on CUDA nothing works in this process any more, so it must end.

    PyTorch has a class for this since 2.8, but not for errors of its libraries.
    """
    return not is_out_of_memory(error) and (isinstance(error, _Lost) or _contains(error, _LOST))


def _contains(error: BaseException, words: tuple[str, ...]) -> bool:
    return isinstance(error, RuntimeError) and any(some in str(error).lower() for some in words)


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a host tensor to the device, without waiting for a GPU."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def release_memory(device: torch.device) -> None:
    """Return PyTorch's cached blocks to the driver."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
