"""The pages are plain files that ask nobody else for anything."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser

import httpx
import pytest
import pytest_asyncio

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGES = ["/", "/docs"]
VOID = {"meta", "link", "input", "br", "img", "hr", "path", "rect"}


class Reader(HTMLParser):
    """Collects a page's element ids, addresses, fields and labels, and the inline code a strict policy would refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.inline: list[str] = []
        self.labelled: set[str] = set()
        self.fields: list[dict[str, str | None]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [found["id"]] if found.get("id") else []
        self.addresses += [found[name] for name in ("href", "src") if found.get(name)]
        self.inline += [name for name in found if name.startswith("on") or name == "style"]
        if tag == "style" or (tag == "script" and "src" not in found):
            self.inline.append(tag)
        if tag == "label" and found.get("for"):
            self.labelled.add(found["for"])
        if tag in ("input", "textarea", "select"):
            self.fields.append(found)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url) as http:
        yield http


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_comes_with_a_policy_that_its_own_markup_keeps(http: httpx.AsyncClient, path: str):
    answer = await http.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert answer.headers["x-frame-options"] == "DENY"
    assert read(answer.text).inline == []


@pytest.mark.parametrize("path", PAGES)
async def test_every_address_on_a_page_is_our_own_and_answers(http: httpx.AsyncClient, path: str):
    reader = read((await http.get(path)).text)
    assert reader.addresses
    for address in set(reader.addresses):
        if address.startswith("#"):
            assert address[1:] in reader.ids
            continue
        assert address.startswith("/") and not address.startswith("//"), address
        answer = await http.get(address)
        assert answer.status_code == 200, address
        if address.endswith(".js"):
            assert answer.headers["content-type"].startswith("text/javascript")
            for module in re.findall(r'from "\./([^"]+)"', answer.text):
                assert (await http.get(f"/static/{module}")).status_code == 200
            assert "eval(" not in answer.text and "innerHTML" not in answer.text
        if address.endswith(".css"):
            assert "url(" not in answer.text and "@import" not in answer.text


async def test_every_field_has_a_label_and_every_element_a_script_asks_for_is_there(http: httpx.AsyncClient):
    page = (await http.get("/")).text
    reader = read(page)
    assert len(reader.ids) == len(set(reader.ids))
    assert {field["id"] for field in reader.fields} <= reader.labelled
    script = (await http.get("/static/speak.js")).text
    assert set(re.findall(r'\$\("([\w-]+)"\)', script)) <= set(reader.ids)
    assert '<html lang="en">' in page and 'name="viewport"' in page


async def test_a_file_is_sent_again_only_when_it_changed(http: httpx.AsyncClient):
    first = await http.get("/static/page.css")
    again = await http.get("/static/page.css", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = await http.head("/")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) == len((await http.get("/")).content)


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fpages.py", "%2e%2e/pages.py", "pages.py"])
async def test_nothing_but_the_pages_own_files_is_served(http: httpx.AsyncClient, name: str):
    answer = await http.get(f"/static/{name}")
    assert answer.status_code == 404
    assert list(answer.json()) == ["error"]
