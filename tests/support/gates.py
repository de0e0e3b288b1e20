"""The gate of the scripted backend: a file with the number of chunks that each worker may speak."""

from __future__ import annotations

from pathlib import Path


def let(folder: Path, chunks: int) -> Path:
    """Let each worker speak at most this many chunks; return the file, which is replaced at once."""
    gate = folder / "gate"
    draft = folder / "gate.new"
    draft.write_text(str(chunks))
    draft.replace(gate)
    return gate
