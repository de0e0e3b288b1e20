"""A file that does not hold what its name says is no audio."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.damage import DAMAGES, damage
from support.lines import logged
from support.storage import put_audio

from storage.errors import BlobMissing
from storage.files.audio import AudioStore
from storage.files.integrity import Integrity

DATA = b"a rather long sound " * 1_000


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("how", ["read", "size", "part", "local", "base64", "too long for base64"])
async def test_damaged_audio_is_missing_however_it_is_asked_for_and_is_moved_aside_and_told(
    tmp_path: Path, kind: str, how: str
) -> None:
    told: list[None] = []
    audio = AudioStore(tmp_path / "audio", lambda: told.append(None))
    blob = await put_audio(audio, DATA)
    await audio.settle(blob)
    path = audio.blobs.locate(blob.hash)
    damage(path, kind)
    bad = path.read_bytes()
    with logged() as lines, pytest.raises(BlobMissing):
        match how:
            case "read":
                await audio.read(blob.hash)
            case "size":
                await audio.size(blob.hash)
            case "part":
                await anext(audio.read_range(blob.hash, 0, 9))
            case "local":
                async with audio.local(blob.hash):
                    pass
            case "base64":
                await audio.read_base64(blob.hash, ".mp3", 10**9)
            case _:
                await audio.read_base64(blob.hash, ".mp3", 5)
                await audio.read_base64(blob.hash, ".mp3", 10**9)  # it is short now, or was not looked at
    assert not path.exists()
    assert (audio.blobs.aside / path.name).read_bytes() == bad
    (line,) = lines.of("storage_damaged")
    assert (line["blob"], line["moved_to"]) == (blob.hash, f"damaged/{path.name}")
    assert len(told) == 1


async def test_audio_that_is_put_again_replaces_a_damaged_file_of_the_same_length(audio: AudioStore) -> None:
    blob = await put_audio(audio, DATA)
    await audio.settle(blob)
    damage(audio.blobs.locate(blob.hash), "flipped")
    await audio.settle(await put_audio(audio, DATA))
    assert await audio.read(blob.hash) == DATA


async def test_a_damaged_file_whose_spool_is_still_there_is_made_good_from_it(audio: AudioStore) -> None:
    await audio.settle(blob := await put_audio(audio, DATA))
    audio.blobs.locate(blob.hash).write_bytes(DATA[:-1])
    await put_audio(audio, DATA)
    assert await audio.read(blob.hash) == DATA
    assert len(audio.blobs.aside_names()) == 1


async def test_a_long_file_is_compared_with_its_name_once_as_long_as_it_does_not_change(tmp_path: Path) -> None:
    file = tmp_path / "sound"
    file.write_bytes(DATA)
    blob_hash = (await put_audio(AudioStore(tmp_path / "audio"), DATA)).hash
    reads: list[int] = []

    class Counting:
        def __init__(self, name: Path) -> None:
            self._file = name.open("rb")

        def __getattr__(self, name: str) -> object:
            return getattr(self._file, name)

        def read(self, n: int) -> bytes:
            reads.append(n)
            return self._file.read(n)

    integrity = Integrity()
    assert integrity.holds(Counting(file), blob_hash)  # type: ignore[arg-type]
    once = len(reads)
    for _ in range(5):
        assert integrity.holds(Counting(file), blob_hash)  # type: ignore[arg-type]
    assert len(reads) == once
    damage(file, "flipped")
    assert not integrity.holds(Counting(file), blob_hash)  # type: ignore[arg-type]
