"""The start page in a real browser: a key, a sentence, speech."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
import soundfile
from support.browser import CHROMIUM, Browser, browsing
from support.running import KEY, settings_of
from support.serving import serving
from support.voices import recording

from gateway.app import Gateway, application

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine; the pages' files are tested without"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    async with browsing(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def element(name: str) -> str:
    return f"document.getElementById('{name}')"


async def speak(browser: Browser, text: str) -> None:
    await browser.until(f"!{element('go')}.disabled")
    await browser.run(f"{element('result')}.hidden = true; {element('text')}.value = {text!r}")
    await browser.run(f"{element('speak')}.requestSubmit()")


async def test_a_key_in_the_address_is_taken_out_of_it_and_kept_in_the_tab(browser: Browser, url: str):
    await browser.open(f"{url}/#key={KEY}")
    await browser.until(f"{element('voice')}.options.length > 1")
    assert await browser.run("location.href") == f"{url}/"
    assert await browser.run("sessionStorage.length + localStorage.length + document.cookie.length") == 1
    assert await browser.run(f"{element('door')}.hidden") is True


OTHERS = "vg_prod_theirs_somebody-elses-secret"


@pytest.mark.parametrize("reload", [True, False])
async def test_a_link_does_not_replace_a_key_before_somebody_says_so(browser: Browser, url: str, reload: bool):
    await browser.open(f"{url}/#key={KEY}")
    await browser.until(f"{element('voice')}.options.length > 1")
    if reload:
        await browser.open(f"{url}/#key={OTHERS}")
    else:
        await browser.run(f"location.hash = 'key={OTHERS}'")
    await browser.until(f"{element('door-error')}.textContent")
    assert await browser.run("location.href") == f"{url}/"
    assert await browser.run("sessionStorage.getItem('voxgate.key')") == KEY
    told = await browser.run(f"{element('door-error')}.textContent")
    assert "another key, vg_prod_theirs." in told and "secret" not in told and KEY not in told
    await browser.run(f"{element('keep-mine')}.click()")
    assert await browser.run(f"{element('door')}.hidden") is True
    assert await browser.run("sessionStorage.getItem('voxgate.key')") == KEY
    await speak(browser, "Spoken with the key of this tab.")
    await browser.until(f"!{element('result')}.hidden && {element('audio')}.duration > 0.2")


async def test_the_key_a_link_brought_is_used_when_somebody_says_so(browser: Browser, url: str):
    await browser.open(f"{url}/")
    await browser.run("sessionStorage.setItem('voxgate.key', 'an-old-one-of-mine')")
    await browser.open(f"{url}/#key={KEY}")
    await browser.until(f"{element('door-error')}.textContent")
    await browser.run(f"{element('door-form')}.requestSubmit()")
    await browser.until(f"{element('door')}.hidden && !{element('leave-box')}.hidden")
    assert await browser.run("sessionStorage.getItem('voxgate.key')") == KEY
    assert await browser.run(f"{element('key-shown')}.textContent") == f"{KEY[:4]}…"


async def test_a_sentence_is_spoken_played_and_shown(browser: Browser, url: str):
    await browser.open(f"{url}/#key={KEY}")
    await browser.until(f"{element('voice')}.options.length > 1")
    await speak(browser, "A sentence for the page. Another one follows it, long enough to be a part of its own.")
    await browser.until(f"!{element('result')}.hidden && {element('audio')}.duration > 0.2")
    assert await browser.run(f"{element('transcript')}.textContent.includes('Another one')")
    assert "spoken now" in await browser.run(f"{element('facts')}.textContent")
    await speak(browser, "A sentence for the page. Another one follows it, long enough to be a part of its own.")
    await browser.until(f"!{element('result')}.hidden")
    assert "from the cache" in await browser.run(f"{element('facts')}.textContent")
    assert await browser.run(f"{element('error')}.textContent") == ""
    assert browser.console == []


async def command_of(browser: Browser, text: str, form: str = "mp3", speed: float = 1.0) -> str:
    """Fill in the page's form and return the curl command it shows."""
    await browser.run(
        f"{element('text')}.value = {json.dumps(text)}; {element('format')}.value = {form!r};"
        f"{element('speed')}.value = {speed}; {element('speak')}.dispatchEvent(new Event('input'))"
    )
    return str(await browser.run(f"{element('curl')}.textContent"))


async def typed(command: str, folder: Path, key: str = KEY) -> int:
    """The exit code of the command in a shell that knows the key."""
    variables = {"PATH": os.environ["PATH"], "VOXGATE_API_KEY": key}
    shell = await asyncio.create_subprocess_exec("sh", cwd=folder, env=variables, stdin=asyncio.subprocess.PIPE)
    await asyncio.wait_for(shell.communicate(f"{command}\n".encode()), 60)
    assert shell.returncode is not None
    return shell.returncode


async def test_the_command_writes_what_the_form_asks_for(browser: Browser, url: str, tmp_path: Path):
    await browser.open(f"{url}/#key={KEY}")
    text = 'It\'s "here", $HOME `and` \\ there.\nEND\nThe end.'
    command = await command_of(browser, text, "wav", 1.5)
    assert KEY not in command
    assert await typed(command, tmp_path) == 0
    spoken = soundfile.info(tmp_path / "speech.wav").duration
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60) as http:
        job = (await http.post("/runsync", json={"input": {"text": text, "format": "wav", "speed": 1.5}})).json()
    assert job["output"]["duration_ms"] == round(1000 * spoken)
    assert job["output"]["cache_hit"] is True  # it is the very same utterance


async def test_the_command_fails_and_writes_nothing_where_nothing_is_spoken(browser: Browser, url: str, tmp_path: Path):
    await browser.open(f"{url}/#key={KEY}")
    assert await typed(await command_of(browser, "A sentence."), tmp_path, key="not-the-key") != 0
    assert await typed(await command_of(browser, "..."), tmp_path) != 0
    assert list(tmp_path.iterdir()) == []


async def test_the_command_takes_a_text_of_any_length(browser: Browser, tmp_path: Path):
    # Longer than an argument of a shell may be, and its audio than an answer holds.
    text = "It's a long text. " * 9_000
    backends = {"scripted": {"seconds_per_char": 0.001}}
    settings = settings_of(tmp_path / "gateway", max_inline_bytes=1_000, backends=backends)
    async with serving(application(Gateway(settings))) as long:
        await browser.open(f"{long}/#key={KEY}")
        assert await typed(await command_of(browser, text), tmp_path) == 0
    assert soundfile.info(tmp_path / "speech.mp3").duration > 0.0009 * len(text)


async def test_what_went_wrong_is_said_on_the_page(browser: Browser, url: str):
    await browser.open(f"{url}/#key={KEY}")
    await speak(browser, "... ... ...")
    assert await browser.until(f"{element('error')}.textContent")
    assert await browser.run(f"{element('go')}.disabled") is False


async def test_without_a_key_the_page_asks_for_one_and_takes_a_good_one(browser: Browser, url: str):
    await browser.open(f"{url}/")
    await browser.run("sessionStorage.clear()")
    await browser.open(f"{url}/?again")
    await browser.until(f"!{element('door')}.hidden")
    await speak(browser, "Speaking without a key leads to the place for it.")
    await browser.until(f"document.activeElement === {element('key')} && {element('door-error')}.textContent")
    await browser.run(f"{element('door-error')}.textContent = ''")
    for key, wrong in (("not a key", True), (KEY, False)):
        await browser.run(f"{element('key')}.value = {key!r}; {element('door-form')}.requestSubmit()")
        if wrong:
            await browser.until(f"{element('door-error')}.textContent")
        else:
            await browser.until(f"{element('door')}.hidden")
    await browser.until(f"{element('backends')}.textContent.includes('scripted')")


@pytest.mark.parametrize("key", ["50%off", "vg_prod_…"])
async def test_a_key_that_cannot_be_one_leads_to_the_place_for_another(browser: Browser, url: str, key: str):
    await browser.open(f"{url}/#key={key}")
    await browser.until(f"!{element('door')}.hidden && {element('door-error')}.textContent")
    assert not [line for line in browser.console if "exceptionDetails" in line]


async def test_a_voice_is_uploaded_spoken_with_heard_and_deleted(browser: Browser, url: str):
    await browser.open(f"{url}/#key={KEY}")
    await browser.until(f"{element('own')}.textContent.includes('None yet')")
    await browser.run(f"{element('own-open')}.click()")
    data = base64.b64encode(recording()).decode()
    await browser.run(
        f"const bytes = Uint8Array.from(atob('{data}'), (c) => c.charCodeAt(0)), file = new DataTransfer();"
        f"file.items.add(new File([bytes], 'ann.wav'));"
        f"{element('own-file')}.files = file.files; {element('own-name')}.value = 'ann';"
        f"{element('own-consent')}.value = 'Ann, on <b>Sunday</b>'; {element('own-form')}.requestSubmit()"
    )
    await browser.until(f"{element('own')}.textContent.includes('Ann, on <b>Sunday</b>')")
    assert await browser.run(f"{element('own-form')}.hidden") is True
    await browser.run(f"{element('voice')}.value = 'ann'")
    await speak(browser, "A sentence by somebody else.")
    await browser.until(f"!{element('result')}.hidden && {element('audio')}.duration > 0.2")
    assert "scripted, ann" in await browser.run(f"{element('facts')}.textContent")
    await browser.run(f"{element('own')}.querySelector('[aria-label=\"Hear ann\"]').click()")
    await browser.until(f"{element('own-audio')}.duration > 3.9")
    delete = f"{element('own')}.querySelector('[aria-label=\"Delete ann\"]').click()"
    await browser.run(delete)
    assert await browser.run(f"{element('own')}.textContent.includes('Delete for good?')")
    await browser.run(delete)
    await browser.until(f"{element('own')}.textContent.includes('None yet')")
    assert await browser.run(f"[...{element('voice')}.options].every((o) => o.value !== 'ann')")
    assert browser.console == []


@pytest.mark.parametrize(("width", "dark"), [(360, False), (360, True), (1200, True)])
async def test_nothing_runs_over_the_edge(browser: Browser, url: str, width: int, dark: bool):
    for path in ("/", "/docs#run"):
        await browser.open(f"{url}{path}", width=width, height=740, dark=dark)
        await browser.until("document.fonts.status === 'loaded'")
        assert await browser.run("document.documentElement.scrollWidth") <= width


async def test_the_api_page_shows_every_operation_there_is(browser: Browser, url: str):
    async with httpx.AsyncClient(base_url=url) as http:
        paths = (await http.get("/openapi.json")).json()["paths"]
    await browser.open(f"{url}/docs")
    await browser.until("document.querySelectorAll('details').length > 10")
    cards = await browser.run("[...document.querySelectorAll('details')].map((card) => card.textContent)")
    for path, item in paths.items():
        for method in item:
            call = f"{method.upper()}{path}"
            assert any(card.startswith(call) or f"{method.upper()} {path} " in card for card in cards), call
    assert browser.console == []
