"""OpenAI's Python client, sync and async. Runs in .venv-clients and imports nothing of ours.

A line `[scenario, arguments]` in, a line `{"value": ...}` or `{"kind": ..., "words": ...}` out.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import urllib.request
from pathlib import Path

import openai

BASE, KEY = os.environ["BASE"], os.environ["KEY"]


def client(key=None, retries=0):
    return openai.OpenAI(base_url=f"{BASE}/v1", api_key=key or KEY, max_retries=retries)


def encoded(data):
    return base64.b64encode(data).decode()


def state_of(job_id):
    asked = urllib.request.Request(f"{BASE}/v2/default/status/{job_id}", headers={"Authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return json.load(answer)["status"]


def speech(request, key=None):
    return encoded(client(key).audio.speech.create(**request).content)


def speech_to_file(request):
    path = Path("speech.out")
    with client().audio.speech.with_streaming_response.create(**request) as response:
        response.stream_to_file(path)
    return encoded(path.read_bytes())


def speech_streamed(request):
    with client().audio.speech.with_streaming_response.create(**request) as response:
        job_id = response.headers["x-voxgate-job-id"]
        pieces = response.iter_bytes()
        first = next(pieces)
        state = state_of(job_id)
        rest = list(pieces)
        return {"state": state, "type": response.headers["content-type"], "audio": encoded(first + b"".join(rest))}


def speech_left(request):
    """Take the first audio and go."""
    with client().audio.speech.with_streaming_response.create(**request) as response:
        next(response.iter_bytes())
        return response.headers["x-voxgate-job-id"]


def speech_events(request):
    with client().audio.speech.with_streaming_response.create(stream_format="sse", **request) as response:
        return [json.loads(line.removeprefix("data: ")) for line in response.iter_lines() if line]


def headers(request):
    return dict(client().audio.speech.with_raw_response.create(**request).headers)


def models():
    return [model.id for model in client().models.list()]


def model(name):
    return client().models.retrieve(name).model_dump()


def error_of(request, key=None):
    """Return the class of the exception the client raises, and the fields it read from the answer."""
    try:
        client(key).audio.speech.create(**request)
    except openai.APIStatusError as error:
        return {
            "class": type(error).__name__,
            "status": error.status_code,
            "param": error.param,
            "code": error.code,
            "type": error.type,
            "words": str(error),
        }
    raise AssertionError("nothing was raised")


# -- async: the same


def in_loop(fn):
    def call(**arguments):
        async def body():
            async with openai.AsyncOpenAI(base_url=f"{BASE}/v1", api_key=KEY, max_retries=0) as asynchronous:
                return await asyncio.wait_for(fn(asynchronous, **arguments), 50)

        return asyncio.run(body())

    return call


@in_loop
async def aio_speech(asynchronous, request):
    return encoded((await asynchronous.audio.speech.create(**request)).content)


@in_loop
async def aio_speech_streamed(asynchronous, request):
    async with asynchronous.audio.speech.with_streaming_response.create(**request) as response:
        job_id = response.headers["x-voxgate-job-id"]
        pieces = response.iter_bytes()
        first = await anext(pieces)
        state = await asyncio.to_thread(state_of, job_id)
        rest = [piece async for piece in pieces]
        return {"state": state, "type": response.headers["content-type"], "audio": encoded(first + b"".join(rest))}


@in_loop
async def aio_models(asynchronous):
    return [model.id async for model in asynchronous.models.list()]


for line in sys.stdin:
    scenario, arguments = json.loads(line)
    try:
        answer = {"value": globals()[scenario](**arguments)}
    except Exception as error:
        answer = {"kind": type(error).__name__, "words": str(error)}
    print(json.dumps(answer), flush=True)
