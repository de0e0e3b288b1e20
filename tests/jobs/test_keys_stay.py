"""Keys of stored audio and of takes stay byte-equal: what was spoken before an upgrade is found after it.

`keys_that_stay.json` holds them for twenty plain requests. A change of what is heard moves its version (planner,
encoder, checks) and with it these keys: then, and only then, write the file anew with
`VOXGATE_WRITE_KEYS=1 python -m pytest tests/jobs/test_keys_stay.py`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from support.after import rows
from support.running import running

KEPT = Path(__file__).with_name("keys_that_stay.json")
REQUESTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("Hello.", {}),
    ("Hello.", {"format": "wav"}),
    ("Hello.", {"format": "flac"}),
    ("Hello.", {"seed": 7}),
    ("Hello.", {"speed": 1.25}),
    ("Hello.", {"voice": "high"}),
    ("Hello.", {"language": "de"}),
    ("Hello.", {"language": "en-GB"}),
    ("Hello.", {"loudness": -20}),
    ("Hello.", {"options": {"pcm": "noise"}}),
    ("Dr. Smith paid $5.50 on May 3rd, 2021.", {}),
    ("Dr. Smith paid $5.50 on May 3rd, 2021.", {"normalize": "on"}),
    ("Dr. Smith paid $5.50 on May 3rd, 2021.", {"normalize": "off"}),
    ("One. Two! Three? Four; five: six - seven.", {}),
    ("A first paragraph.\n\nA second one.\n\nA third one, with a comma.", {}),
    ("The same. The same. The same.", {"seed": 1}),
    ("Größe, naïve, 東京, Ελλάδα.", {"format": "wav"}),
    ("A sentence that goes on. " * 40, {"format": "wav"}),
    ("word " * 400, {"format": "wav"}),
    ('"Quoted," she said. (In brackets.) [Noted.]', {}),
)


async def test_cache_keys_and_take_keys_of_plain_requests_stay_what_they_are(tmp_path: Path) -> None:
    found: list[str] = []
    backends = {"scripted": {"seconds_per_char": 0.002}}
    async with running(tmp_path, backends=backends) as caller:
        for text, fields in REQUESTS:
            job = await caller.say(text, **fields)
            assert job["status"] == "COMPLETED", job
            found.append(job["output"]["cache_key"])
    takes = sorted(row[0] for row in rows(tmp_path, "SELECT key FROM takes"))
    keys = {"audio": found, "takes": takes}
    if os.environ.get("VOXGATE_WRITE_KEYS"):
        KEPT.write_text(json.dumps(keys, indent=1) + "\n")
    assert keys == json.loads(KEPT.read_text())
