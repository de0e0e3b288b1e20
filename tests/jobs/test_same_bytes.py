"""Company never changes the sound: with a seed, the embedded voice gives the same bytes alone and in a crowd."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.after import sound_of
from support.running import running

pytestmark = pytest.mark.slow

TEXTS = [
    f"Number {word}. The birch canoe slid on the smooth planks."
    for word in (
        "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen".split()
    )
]


async def test_sixteen_jobs_at_once_give_the_same_bytes_as_one_after_the_other(tmp_path: Path) -> None:
    fields = {"seed": 7, "format": "flac", "cache": "off"}
    async with running(tmp_path, plugins=("hibari",)) as caller:
        crowd = await asyncio.gather(*(caller.say(text, **fields) for text in TEXTS))
        for text, job in list(zip(TEXTS, crowd, strict=True))[::4]:
            alone = await caller.say(text, **fields)
            sound_of(alone)
            assert alone["output"]["audio_base64"] == job["output"]["audio_base64"]
        other = await caller.say(TEXTS[0], **{**fields, "seed": 8})
        assert other["output"]["audio_base64"] != crowd[0]["output"]["audio_base64"]
