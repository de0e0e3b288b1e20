"""The start page in a real browser: a key, a sentence, speech."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from support.browser import CHROMIUM, Browser, browsing
from support.running import KEY
from support.voices import recording

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


async def test_the_command_is_the_form_quoted_for_a_shell(browser: Browser, url: str):
    await browser.open(f"{url}/#key={KEY}")
    await browser.run(
        f"{element('text')}.value = \"It's here\"; {element('format')}.value = 'wav'; {element('speed')}.value = 1.5;"
        f"{element('speak')}.dispatchEvent(new Event('input'))"
    )
    command = await browser.run(f"{element('curl')}.textContent")
    assert f"{url}/runsync" in command
    assert r'{"input":{"text":"It' + r"'\''" + r's here","format":"wav","speed":1.5}}' in command
    assert KEY not in command


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
