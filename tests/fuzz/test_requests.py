"""Any HTTP input gets a documented answer with a message, causes no defect, and leaves no content in the log."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.hostile import RAW_INPUTS, examples, inputs, texts, values
from support.running import KEY, Caller

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.soak]

GUARD_S = 60.0
REFUSALS = frozenset({400, 404, 405, 409, 413, 416, 429})
MARKER = "Pssst-nobody-may-read-this"


def words_of(answer: httpx.Response) -> str:
    """Check that the answer is one of this API; return its error message, empty if there is none."""
    assert answer.status_code == 200 or answer.status_code in REFUSALS, (answer.status_code, answer.text[:300])
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["x-content-type-options"] == "nosniff"
    body = answer.json()
    error = body.get("error", "")
    if answer.status_code != 200:
        assert list(body) == ["error"] and len(error) > 10, body
    assert KEY not in answer.text and "Traceback" not in answer.text and ".py" not in error
    assert len(error) < 2_000, error[:200]
    return str(error)


async def sent(caller: Caller, body: bytes, verb: str = "run", **headers: str) -> httpx.Response:
    async with asyncio.timeout(GUARD_S):
        return await caller.http.post(f"/v2/{caller.endpoint}/{verb}", content=body, headers=headers)


def dumped(value: Any) -> bytes:
    """JSON as a careless program writes it: NaN, infinities and lone surrogates included."""
    return json.dumps(value).encode()


async def ended(caller: Caller, answer: httpx.Response) -> dict[str, Any]:
    """The job of an answer, once it has ended."""
    return await caller.until(answer.json()["id"], within_s=GUARD_S)


@given(inputs, st.sampled_from(["run", "runsync?wait=1000"]))
@examples(40)
async def test_an_input_is_spoken_or_refused_in_words(attacked: Caller, given_input: dict[str, Any], verb: str) -> None:
    # Options are the scripted backend's own faults; here they shall only be read.
    given_input.pop("options", None)
    answer = await sent(attacked, dumped({"input": given_input}), verb)
    if not words_of(answer):
        job = await ended(attacked, answer)
        assert job["status"] in ("COMPLETED", "FAILED"), job
        assert job["status"] == "COMPLETED" or 0 < len(job["error"]) < 2_000


@given(texts)
@examples(25)
async def test_a_text_of_any_script_is_spoken_or_has_nothing_to_speak(attacked: Caller, text: str) -> None:
    answer = await sent(attacked, dumped({"input": {"text": text}}), "runsync")
    assert words_of(answer) == "" or "text" in words_of(answer)
    job = await ended(attacked, answer)
    assert job["status"] == "COMPLETED" or job["error"].startswith("text "), job


@given(values)
@examples(40)
async def test_any_json_at_all_is_answered(attacked: Caller, value: Any) -> None:
    for body in (value, {"input": value}, {"input": {"text": "a", "options": {"only": value}}}):
        words_of(await sent(attacked, dumped(body)))


@given(
    st.fixed_dictionaries({}, optional={"webhook": values, "policy": values, "s3Config": values, "x": values}),
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=300).map(str.strip),
)
@examples(40)
async def test_any_envelope_is_answered(attacked: Caller, envelope: dict[str, Any], key: str) -> None:
    body = dumped({"input": {"text": "a"}, **envelope})
    async with asyncio.timeout(GUARD_S):
        headers = {"Idempotency-Key": key.encode("latin-1")}
        words_of(await attacked.http.post("/v2/tests/run", content=body, headers=headers))


CONTENT_TYPES = (
    "application/json", "text/plain; charset=utf-7", "multipart/form-data", "multipart/form-data; boundary=b",
    "application/x-www-form-urlencoded", "\xff", "a/b; charset=nonsense",
)  # fmt: skip


@given(st.binary(max_size=200), st.sampled_from(CONTENT_TYPES))
@examples(30)
async def test_bytes_under_any_content_type_are_answered(attacked: Caller, body: bytes, kind: str) -> None:
    for verb in ("run", "runsync", "voices", "purge-queue"):
        async with asyncio.timeout(GUARD_S):
            headers = {b"content-type": kind.encode("latin-1")}
            words_of(await attacked.http.post(f"/v2/tests/{verb}", content=body, headers=headers))


@pytest.mark.parametrize("raw", RAW_INPUTS, ids=range(len(RAW_INPUTS)))
@pytest.mark.parametrize("verb", ["run", "runsync?wait=1000"])
async def test_what_is_nearly_json_is_answered(attacked: Caller, raw: bytes, verb: str) -> None:
    for body in (raw, b'{"input":' + raw + b"}", b'{"input":{"text":"a"},"x":' + raw + b"}"):
        words_of(await sent(attacked, body, verb))


async def test_json_without_end_is_bad_input_at_every_place(attacked: Caller) -> None:
    deep = b"[" * 10_000 + b"]" * 10_000
    for body in (deep, b'{"input":' + deep + b"}", b'{"x":' + deep + b',"input":{"text":"a"}}'):
        for verb in ("run", "runsync"):
            assert "json is invalid" in words_of(await sent(attacked, body, verb)) or body is deep
    for levels in (20, 33, 200, 900, 960, 980, 990, 1000, 1020):
        nested = b'{"input":{"text":"a","options":{"only":' + b"[" * levels + b"]" * levels + b"}}}"
        answer = await sent(attacked, nested, "runsync?wait=1000")
        words = words_of(answer)
        assert ("32 levels" in words) == (31 < levels < 900) or levels >= 900
        assert words, levels


async def test_ten_thousand_keys_are_refused_by_the_first_unknown_one(attacked: Caller) -> None:
    many = {f"k{n}": n for n in range(5_000)}
    assert "unknown input 'k0'" in words_of(await sent(attacked, dumped({"input": {"text": "a", **many}}), "runsync"))
    assert "no option 'k0'" in words_of(
        await sent(attacked, dumped({"input": {"text": "a", "options": many}}), "runsync")
    )
    assert words_of(await sent(attacked, dumped({"input": {"text": "a"}, **many}), "runsync")) == ""


async def test_a_long_name_is_neither_guessed_at_nor_sent_back(attacked: Caller) -> None:
    for wrong in ({"k" * 40_000: 1}, {"options": {"k" * 40_000: 1}}, {"voice": "k" * 40_000}, {"format": "k" * 40_000}):
        words = words_of(await sent(attacked, dumped({"input": {"text": "a", **wrong}}), "runsync"))
        assert words and len(words) < 800


async def test_of_equal_keys_the_last_one_holds(attacked: Caller) -> None:
    answer = await sent(attacked, b'{"input":{"text":"..."},"input":{"text":"...","text":"yes"}}', "runsync")
    assert answer.json()["status"] == "COMPLETED"


QUERIES = (
    "requests?limit=" + "9" * 30, "requests?limit=0", "requests?limit=x", "requests?status=%00", "requests?before=%00",
    "requests?before=" + "x" * 200, "webhooks?before=" + "9" * 30, "webhooks?before=9223372036854775808",
    "webhooks?before=-1", "webhooks/%00", "status/%00", "status/%ff%fe", "status/%F0%9F%92%A9", "status/" + "a" * 3000,
    "status/x?ttl=" + "9" * 400, "status/x?ttl=NaN", "status-sync/x?wait=%ff", "status-sync/x?wait=1000&wait=2000",
    "stream/x?from=" + "9" * 5000, "stream/x?from=-1", "stream/x?from=%D9%A3", "stream/x?wait=1e9",
    "requests?" + "&".join(f"a{n}=1" for n in range(5000)), "subtitles/%00.srt", "subtitles/x.y", "voices/%00/audio",
    "pronunciations?x=%00", "health?" + "x" * 9000,
)  # fmt: skip


@pytest.mark.parametrize("address", QUERIES, ids=range(len(QUERIES)))
async def test_any_address_is_answered(attacked: Caller, address: str) -> None:
    async with asyncio.timeout(GUARD_S):
        words_of(await attacked.http.get(f"/v2/tests/{address}"))
        words_of(await attacked.http.get(f"/v2/%00%0a{address.partition('/')[0][:1]}/{address}"))


async def test_a_wrong_parameter_is_named_as_it_was_sent_with_what_is_allowed(attacked: Caller) -> None:
    for address, says in (
        ("requests?limit=5000", "limit is invalid: Expected `int` <= 1000"),
        ("stream/x?from=-1", "from is invalid: Expected `int` >= 0"),
        ("webhooks?before=9223372036854775808", "before is invalid"),
        ("status-sync/x?wait=1", "wait is invalid; must be between 1000 and 300000"),
    ):
        assert says in words_of(await attacked.http.get(f"/v2/tests/{address}"))


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "CONNECT", "M-SEARCH", "PURGE"])
async def test_unknown_methods_are_answered(attacked: Caller, method: str) -> None:
    for path in ("/run", "/v2/tests/runsync", "/v2/tests/status/x", "/health/live", "/nothing", "/metrics"):
        answer = await attacked.http.request(method, path, content=b"{}")
        assert answer.status_code in (404, 405)
        words_of(answer)


async def test_ranges_of_any_size_are_whole_files_or_refused(attacked: Caller) -> None:
    url = (await attacked.say("A sentence one may fetch."))["output"]["audio_url"]
    size = len((await attacked.http.get(url)).content)
    huge = "9" * 5000
    for header in (f"bytes={huge}-", f"bytes=-{huge}", f"bytes=0-{huge}", "bytes=5-2", "bytes=--", "x" * 9000,
                   f"bytes={10**17}-", "bytes=-0", "bytes=0-0,5-6", "bytes=²-"):  # fmt: skip
        answer = await attacked.http.get(url, headers={b"range": header.encode("latin-1")})
        assert answer.status_code in (200, 206, 416), header
        assert answer.status_code != 200 or len(answer.content) == size


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
@examples(30)
async def test_no_forged_audio_address_is_good(attacked: Caller, blob: str, expires: str, signature: str) -> None:
    found = httpx.URL("/audio/x", params={"expires": expires, "signature": signature})
    answer = await attacked.http.get(found)
    assert answer.status_code == 403 and "signature" in answer.json()["error"]
    answer = await attacked.http.get(f"/audio/{'9' * 5000}?expires={'9' * 5000}&signature={'x' * 43}")
    assert answer.status_code == 403


async def test_a_host_of_any_length_is_no_address_of_ours(attacked: Caller) -> None:
    for host in ("h" * 5000, "evil\\@x", "a b", "[" + ":" * 200 + "]", "x:" + "9" * 50):
        answer = await sent(attacked, dumped({"input": {"text": "a host"}}), "runsync", host=host)
        if not words_of(answer):
            assert answer.json()["output"]["audio_url"].startswith("/audio/"), host[:20]


async def test_a_job_refused_for_its_input_is_not_queued_again(attacked: Caller) -> None:
    refused = (await sent(attacked, dumped({"input": {"text": ""}}), "runsync")).json()
    assert refused["status"] == "FAILED"
    answer = await attacked.post(f"retry/{refused['id']}")
    assert answer.status_code == 409 and "input" in words_of(answer)
    assert (await attacked.status(refused["id"]))["status"] == "FAILED"


async def test_nothing_that_was_said_is_in_the_log(attacked: Caller, log: io.StringIO) -> None:
    for body in (
        {"input": {"text": MARKER}},
        {"input": {"text": f"{MARKER} \ud800\x00\x1b[31m"}},
        {"input": {"text": MARKER, MARKER: 1}},
        {"input": {"text": MARKER, "options": {"fail": MARKER}}},
        {"input": {"text": MARKER, "voice": MARKER, "language": MARKER}},
        {"input": {"text": MARKER}, "webhook": f"http://u:{MARKER}@example.com/"},
        {"input": {"text": MARKER}, "webhook": 3, "policy": MARKER},
    ):
        for verb in ("run", "runsync?wait=3000"):
            words_of(await sent(attacked, dumped(body), verb))
    await sent(attacked, b'{"input": {"text": "' + MARKER.encode(), "run", authorization=f"Bearer {MARKER}")
    words_of(await attacked.http.get(f"/v2/tests/requests?before={MARKER}&limit=x"))
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert any(line["event"] == "refused" for line in lines)
    assert MARKER not in log.getvalue() and KEY not in log.getvalue()
    assert not [line for line in lines if line["event"] == "unexpected error" or "Exception in ASGI" in line["event"]]
