"""The peer of the job API: RunPod's own worker with a handler that has its output ready. Runs in a venv of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import runpod  # type: ignore[import-not-found]

_OUTPUT = json.loads(Path(os.environ["VOXGATE_BENCH_OUTPUT"]).read_bytes())


def handler(job: dict[str, Any]) -> Any:
    """The output, at once."""
    return _OUTPUT


runpod.serverless.start({"handler": handler})
