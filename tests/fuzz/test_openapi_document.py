"""schemathesis believes the OpenAPI document and tries to prove it wrong on the real server."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest
from support.hostile import EXAMPLES
from support.running import KEY, running

ROOT = Path(__file__).resolve().parents[2]
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "ignored_auth",
)

# A second is the least that may be asked for; nobody gains by waiting for a job that was made up.
CONFIG = """
[parameters]
wait = 1000
"""


@pytest.mark.slow
@pytest.mark.soak
async def test_the_document_holds_for_every_request_schemathesis_makes_up(tmp_path: Path) -> None:
    await asyncio.to_thread(subprocess.run, [ROOT / "scripts" / "fuzzers"], check=True, timeout=600)
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    phases = "coverage,fuzzing,stateful" if EXAMPLES else "coverage,fuzzing"
    most = str(max(3, EXAMPLES // 20))
    async with running(tmp_path / "data") as caller:
        process = await asyncio.create_subprocess_exec(
            ROOT / ".venv-fuzz" / "bin" / "schemathesis", "--config-file", config,
            "run", f"{str(caller.http.base_url).rstrip('/')}/openapi.json",
            "--header", f"Authorization: Bearer {KEY}", "--max-examples", most, "--phases", phases,
            "--checks", ",".join(CHECKS), "--seed", "1", "--no-shrink", "--request-timeout", "60",
            "--suppress-health-check", "all", "--warnings", "off",
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        printed = (await process.communicate())[0].decode()
        assert process.returncode == 0, printed[-6000:]
        assert "Authentication failed" not in printed
        assert (await caller.say("It still speaks."))["status"] == "COMPLETED"
