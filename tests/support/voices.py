"""Makes recordings, and callers of other tenants."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import httpx
import numpy as np
import soundfile
from support.running import Caller

from backends.interface import Material
from gateway.access.keys import Keys
from gateway.clock import SystemClock
from storage.keys import KeyStore

CONSENT = "Ann agreed in writing on 2026-11-22"


def recording(seconds: float = 4.0, hertz: float = 180.0, rate: int = 24_000, form: str = "WAV") -> bytes:
    """Make a recording that counts as speech: a tone of changing level."""
    t = np.arange(round(seconds * rate)) / rate
    tone = 0.2 * np.sin(2 * np.pi * hertz * t) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * t))
    return encoded(tone.astype(np.float32), rate, form)


def recorded(file: Path) -> Material:
    """The material of a voice whose recording is this file."""
    return Material(file.stem, lambda _: nullcontext(file))


def encoded(pcm: np.ndarray, rate: int, form: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, pcm, rate, format=form)
    return file.getvalue()


async def upload(caller: Caller, name: str, file: bytes, consent: str = CONSENT, **fields: str) -> httpx.Response:
    """Send a recording as a form."""
    return await caller.http.post(
        f"/v2/{caller.endpoint}/voices",
        files={"file": ("voice.wav", file)},
        data={"name": name, "consent": consent} | fields,
    )


@asynccontextmanager
async def tenant(caller: Caller, name: str, *scopes: str) -> AsyncIterator[Caller]:
    """Return a caller with a key of another tenant."""
    gateway = caller.gateway
    assert gateway._database is not None
    made = await Keys(KeyStore(gateway._database), SystemClock()).create(
        tenant=name, env="dev", scopes=scopes or ("speak", "voices")
    )
    await gateway.access.refresh()
    key = {"Authorization": f"Bearer {made.secret}"}
    async with httpx.AsyncClient(base_url=caller.http.base_url, headers=key, timeout=60) as http:
        yield Caller(gateway, http, caller.endpoint)
