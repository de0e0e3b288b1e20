"""A cancel in the middle of encoding: the file is closed when nobody writes to it any more."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from support.after import sound_of
from support.served import site

from gateway.speech.speak.in_thread import to_its_end


async def test_a_cancel_is_raised_when_the_step_has_ended() -> None:
    begun, go, ended = threading.Event(), threading.Event(), threading.Event()

    def step() -> None:
        begun.set()
        go.wait(10)
        ended.set()

    task = asyncio.create_task(to_its_end(step))
    await asyncio.to_thread(begun.wait)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.01)
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_a_step_returns_its_result_or_raises_its_error() -> None:
    def fail() -> None:
        raise OSError("no")

    assert await to_its_end(lambda: 3) == 3
    with pytest.raises(OSError, match="no"):
        await to_its_end(fail)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["flac", "opus"])
async def test_a_server_survives_jobs_that_are_cancelled_while_they_are_encoded(tmp_path: Path, form: str) -> None:
    """Each chunk is a minute long, so that nearly all the time of a job is encoding."""
    text = "\n\n".join(f"Paragraph number {n} of a text that is nearly only encoded." for n in range(8))
    async with site(tmp_path, backends__scripted__seconds_per_char=1.0) as place:
        served = await place.start()
        for nth in range(25):
            job_id = await served.caller.run(f"{text} {nth}", format=form, cache="off", delivery="url")
            await served.caller.until(job_id, "IN_PROGRESS")
            await asyncio.sleep(0.02 * nth)
            await served.caller.post(f"cancel/{job_id}")
        sound_of(await served.caller.say("It is still there."))
        assert await served.stop() == 0
