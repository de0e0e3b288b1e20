"""Signed addresses of finished audio."""

from __future__ import annotations

import base64

import pytest
import pytest_asyncio
from support.access import signed
from support.running import Caller

pytestmark = pytest.mark.asyncio(loop_scope="module")

LONG = "A text of some length. " * 60  # more than one piece of the file


class Spoken:
    """Audio of the real gateway, and its address."""

    def __init__(self, sound: bytes, address: str) -> None:
        self.sound = sound
        self.address = address


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def spoken(real: Caller) -> Spoken:
    output = (await real.say(LONG, format="wav"))["output"]
    sound = base64.b64decode(output["audio_base64"])
    assert len(sound) > 600_000
    return Spoken(sound, output["audio_url"])


async def test_a_signed_address_needs_no_key_and_gives_the_audio(real: Caller, spoken: Spoken):
    answer = await real.http.get(spoken.address, headers={"Authorization": ""})
    assert (answer.status_code, answer.content) == (200, spoken.sound)
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-length"] == str(len(spoken.sound))


async def test_head_tells_the_size_without_the_audio(real: Caller, spoken: Spoken):
    answer = await real.http.head(spoken.address)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(spoken.sound))


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=10-19", 10, 19),
        ("bytes=600000-", 600_000, None),
        ("bytes=-5", -5, None),
        ("bytes=-99999999", 0, None),
        ("bytes=5-99999999", 5, None),
        ("bytes=262143-262145", 262_143, 262_145),
    ],
)
async def test_a_range_gives_exactly_its_bytes(real: Caller, spoken: Spoken, wanted: str, first: int, last: int | None):
    size = len(spoken.sound)
    first, last = first % size, size - 1 if last is None else last
    answer = await real.http.get(spoken.address, headers={"Range": wanted})
    assert (answer.status_code, answer.content) == (206, spoken.sound[first : last + 1])
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(spoken.sound)}"


@pytest.mark.parametrize("wanted", ["bytes=99999999-", "bytes=-0", "bytes=99999999-999999999"])
async def test_a_range_outside_of_the_audio_is_416(real: Caller, spoken: Spoken, wanted: str):
    answer = await real.http.get(spoken.address, headers={"Range": wanted})
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(spoken.sound)}")
    assert list(answer.json()) == ["error"]


@pytest.mark.parametrize("wanted", ["bytes=5-2", "bytes=0-1,4-5", "seconds=0-1", "bytes=-", "nonsense"])
async def test_a_range_that_makes_no_sense_gives_the_whole(real: Caller, spoken: Spoken, wanted: str):
    answer = await real.http.get(spoken.address, headers={"Range": wanted})
    assert (answer.status_code, len(answer.content)) == (200, len(spoken.sound))


async def test_a_player_that_has_it_already_is_told_so(real: Caller, spoken: Spoken):
    address = spoken.address
    tag = (await real.http.get(address)).headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = await real.http.get(address, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert (await real.http.get(address, headers={"If-None-Match": '"other"'})).status_code == 200
    whole = await real.http.get(address, headers={"Range": "bytes=0-1", "If-Range": '"other"'})
    assert whole.status_code == 200
    part = await real.http.get(address, headers={"Range": "bytes=0-1", "If-Range": tag})
    assert part.status_code == 206


async def test_an_altered_address_is_403_and_a_missing_file_404(real: Caller, spoken: Spoken):
    address = spoken.address.removeprefix(str(real.http.base_url).rstrip("/"))
    path = address.partition("?")[0]
    for wrong in (address[:-3] + "AAA", address.replace("expires=1", "expires=2"), path):
        answer = await real.http.get(wrong)
        assert answer.status_code == 403
        assert list(answer.json()) == ["error"]
    now_s = real.gateway.clock.now_ms() // 1000
    expired = signed(real.gateway.signer, path, now_s - 1)
    assert (await real.http.get(expired)).status_code == 403
    missing = signed(real.gateway.signer, "/audio/" + "0" * 64 + ".mp3", now_s + 60)
    assert (await real.http.get(missing)).status_code == 404
    assert (await real.http.get(signed(real.gateway.signer, "/audio/..%2Fetc", now_s + 60))).status_code in (403, 404)
