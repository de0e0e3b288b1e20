"""The gate of the scripted backend: a file with a number, of chunks that each worker may speak."""

from __future__ import annotations

from pathlib import Path


def let(folder: Path, chunks: int) -> Path:
    """Let each worker speak so many chunks and no more; gives the file, which is never seen half written."""
    gate = folder / "gate"
    draft = folder / "gate.new"
    draft.write_text(str(chunks))
    draft.replace(gate)
    return gate
