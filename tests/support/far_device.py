"""A device that is not the CPU and exists everywhere: PyTorch's `meta`, whose tensors have shapes and no values."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

FAR = torch.device("meta")
SOUND = 5
"""A speech token."""


class Strict(TorchDispatchMode):
    """Refuses operators with tensors of two devices, except copies and scalars, as a GPU does.

    Attributes:
        sent: copies from the host to the device.
    """

    COPIES = ("copy_", "_to_copy")

    def __init__(self) -> None:
        super().__init__()
        self.sent = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if name not in self.COPIES:
            devices = {tensor.device.type for tensor in tensors if tensor.dim()}
            assert len(devices) < 2, f"{name} of tensors on {' and '.join(sorted(devices))}"
        made = func(*args, **kwargs)
        if name == "_to_copy" and tensors[0].device.type == "cpu":
            self.sent += made.device == FAR
        elif name == "copy_":
            self.sent += tensors[0].device == FAR and tensors[1].device.type == "cpu"
        return made


class FarDraws:
    """A random state that draws nothing, since `meta` tensors have no values."""

    generator = None

    def __init__(self, seed: int, device: torch.device) -> None:
        assert device == FAR

    def again(self) -> FarDraws:
        return FarDraws(0, FAR)

    def state(self) -> tuple[torch.Tensor, ...]:
        return ()

    def restore(self, state: tuple[torch.Tensor, ...]) -> None:
        """Do nothing."""

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        yield


def sent_far(model: Any) -> Any:
    """Return a copy of upstream's model on that device."""
    made = copy.copy(model)
    for name in ("t3", "s3gen", "ve", "conds"):
        setattr(made, name, copy.deepcopy(getattr(model, name)).to(device=FAR))
    made.device = str(FAR)
    return made
