"""RunPod's Python client, sync and asyncio. Runs in .venv-clients and imports nothing of ours.

A line `[scenario, arguments]` in, a line `{"value": ...}` or `{"kind": ..., "words": ...}` out.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys

import aiohttp
import runpod  # reads RUNPOD_ENDPOINT_BASE_URL

runpod.api_key = os.environ["KEY"]
FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")


def endpoint(name, key=None):
    return runpod.Endpoint(name, api_key=key)


def job_of(name, job_id):
    return runpod.endpoint.runner.Job(name, job_id, endpoint(name).rp_client)


# -- sync


def run(name, request, key=None):
    return endpoint(name, key).run(request).job_id


def run_and_wait(name, request):
    job = endpoint(name).run(request)
    output = job.output(timeout=50)
    return {"id": job.job_id, "status": job.status(), "output": output}


def run_sync(name, request):
    return endpoint(name).run_sync(request, timeout=50)


def status(name, job_id):
    return job_of(name, job_id).status()


def output(name, job_id, timeout=0):
    return job_of(name, job_id).output(timeout=timeout)


def cancel(name, job_id):
    return job_of(name, job_id).cancel()


def stream(name, job_id, limit=1000):
    return list(itertools.islice(job_of(name, job_id).stream(), limit))


def health(name):
    return endpoint(name).health()


def purge_queue(name):
    return endpoint(name).purge_queue()


# -- asyncio: the same, in a session of its own each


def in_session(fn):
    def call(name, **arguments):
        async def body():
            async with aiohttp.ClientSession() as session:
                return await asyncio.wait_for(fn(runpod.AsyncioEndpoint(name, session), **arguments), 50)

        return asyncio.run(body())

    return call


def aio_job(ep, job_id):
    return runpod.AsyncioJob(ep.endpoint_id, job_id, ep.session, ep.headers | {"X-Request-ID": job_id})


@in_session
async def aio_run(ep, request):
    return (await ep.run(request)).job_id


@in_session
async def aio_run_and_wait(ep, request):
    job = await ep.run(request)
    found = await job.output(timeout=50)
    return {"id": job.job_id, "status": await job.status(), "output": found}


@in_session
async def aio_status(ep, job_id):
    return await aio_job(ep, job_id).status()


@in_session
async def aio_output(ep, job_id, timeout=0):
    return await aio_job(ep, job_id).output(timeout=timeout)


@in_session
async def aio_cancel(ep, job_id):
    return await aio_job(ep, job_id).cancel()


@in_session
async def aio_stream(ep, job_id):
    return [item async for item in aio_job(ep, job_id).stream()]


@in_session
async def aio_health(ep):
    return await ep.health()


@in_session
async def aio_purge_queue(ep):
    return await ep.purge_queue()


for line in sys.stdin:
    scenario, arguments = json.loads(line)
    try:
        answer = {"value": globals()[scenario](**arguments)}
    except Exception as error:
        answer = {"kind": type(error).__name__, "words": str(error)}
    print(json.dumps(answer), flush=True)
