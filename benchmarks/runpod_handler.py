"""The peer of the job API: RunPod's worker with a handler that returns a ready output. Runs in a separate venv."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import runpod  # type: ignore[import-not-found]

_OUTPUT = json.loads(Path(os.environ["VOXGATE_BENCH_OUTPUT"]).read_bytes())


def handler(job: dict[str, Any]) -> Any:
    """Return the output at once."""
    return _OUTPUT


runpod.serverless.start({"handler": handler})
