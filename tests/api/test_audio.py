"""Signed addresses of finished audio."""

from __future__ import annotations

import httpx
import pytest
from support.memory import MemoryGateway

SOUND = bytes(range(256)) * 3000  # more than one piece


async def test_a_signed_address_needs_no_key_and_gives_the_audio(client: httpx.AsyncClient, gateway: MemoryGateway):
    client.headers.pop("Authorization")
    answer = await client.get(gateway.record(SOUND))
    assert (answer.status_code, answer.content) == (200, SOUND)
    assert answer.headers["content-type"] == "audio/mpeg"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-length"] == str(len(SOUND))


async def test_head_tells_the_size_without_the_audio(client: httpx.AsyncClient, gateway: MemoryGateway):
    answer = await client.head(gateway.record(SOUND))
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(SOUND))


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=10-19", 10, 19),
        ("bytes=767990-", 767990, 767999),
        ("bytes=-5", 767995, 767999),
        ("bytes=-9999999", 0, 767999),
        ("bytes=5-99999999", 5, 767999),
    ],
)
async def test_a_range_gives_exactly_its_bytes(
    client: httpx.AsyncClient, gateway: MemoryGateway, wanted: str, first: int, last: int
):
    answer = await client.get(gateway.record(SOUND), headers={"Range": wanted})
    assert (answer.status_code, answer.content) == (206, SOUND[first : last + 1])
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(SOUND)}"


@pytest.mark.parametrize("wanted", ["bytes=768000-", "bytes=-0", "bytes=999999-1000000"])
async def test_a_range_outside_of_the_audio_is_416(client: httpx.AsyncClient, gateway: MemoryGateway, wanted: str):
    answer = await client.get(gateway.record(SOUND), headers={"Range": wanted})
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(SOUND)}")
    assert list(answer.json()) == ["error"]


@pytest.mark.parametrize("wanted", ["bytes=5-2", "bytes=0-1,4-5", "seconds=0-1", "bytes=-", "nonsense"])
async def test_a_range_that_makes_no_sense_gives_the_whole(
    client: httpx.AsyncClient, gateway: MemoryGateway, wanted: str
):
    answer = await client.get(gateway.record(SOUND), headers={"Range": wanted})
    assert (answer.status_code, len(answer.content)) == (200, len(SOUND))


async def test_a_player_that_has_it_already_is_told_so(client: httpx.AsyncClient, gateway: MemoryGateway):
    address = gateway.record(SOUND)
    tag = (await client.get(address)).headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = await client.get(address, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert (await client.get(address, headers={"If-None-Match": '"other"'})).status_code == 200
    whole = await client.get(address, headers={"Range": "bytes=0-1", "If-Range": '"other"'})
    assert whole.status_code == 200
    part = await client.get(address, headers={"Range": "bytes=0-1", "If-Range": tag})
    assert part.status_code == 206


async def test_an_altered_address_is_403_and_a_missing_file_404(client: httpx.AsyncClient, gateway: MemoryGateway):
    address = gateway.record(SOUND)
    for wrong in (address[:-3] + "AAA", address.replace("expires=1", "expires=2"), address.partition("?")[0]):
        answer = await client.get(wrong)
        assert answer.status_code == 403
        assert list(answer.json()) == ["error"]
    expired = gateway.signer.signed(address.partition("?")[0], -1)
    assert (await client.get(expired)).status_code == 403
    assert (await client.get(gateway.signer.signed("/audio/" + "0" * 64 + ".mp3", 60))).status_code == 404
    assert (await client.get(gateway.signer.signed("/audio/..%2Fetc", 60))).status_code in (403, 404)
