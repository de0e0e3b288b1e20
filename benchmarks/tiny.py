"""A Chatterbox backend with tiny modules, otherwise as a worker runs it.

`python -m benchmarks.tiny serve ...` is `voxgate serve ...` with this backend in place of Chatterbox.
"""

from __future__ import annotations

from typing import Any
from unittest import mock

from backends.chatterbox import ChatterboxBackend
from backends.chatterbox.models import MODELS
from backends.chatterbox.weights import Weights
from benchmarks.checkpoints import tiny_chatterbox


class TinyChatterbox(ChatterboxBackend):
    """Loads a tiny checkpoint; everything else is the real backend."""

    def _start(self, *args: Any) -> Any:
        from backends.chatterbox import loading

        true_load = loading.load_model

        def load_model(weights: Weights, *rest: Any) -> Any:
            [name] = (name for name, model in MODELS.items() if model == weights.model)
            with tiny_chatterbox(name):
                return true_load(weights, *rest)

        # Only while the model itself is made, so that a load that fails earlier is as quick as the real one.
        with mock.patch.object(loading, "load_model", load_model):
            return super()._start(*args)

    def _build(self, *args: Any) -> Any:
        with tiny_chatterbox():
            return super()._build(*args)


def main() -> None:
    """Run the command line of voxgate with this backend."""
    import backends.chatterbox
    from gateway.cli import main as voxgate

    backends.chatterbox.ChatterboxBackend = TinyChatterbox  # type: ignore[misc]
    voxgate()


if __name__ == "__main__":
    from benchmarks import tiny  # by its name: a worker must find the class again

    tiny.main()
