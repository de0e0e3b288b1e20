"""One rule for the ids of endpoints, whoever makes one: a command, the settings, or a caller."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from support.command import command
from support.running import running

RULE = "an endpoint's id is 1 to 64 letters, digits, dots, hyphens or underscores, a letter or digit first"
IMPOSSIBLE = ("bad id", "-a", ".a", "_", "ä", "a\n", "a" * 65)


async def test_an_id_no_endpoint_can_have_is_404_with_the_rule(tmp_path: Path) -> None:
    body = {"input": {"text": "Hello."}}
    async with running(tmp_path) as caller:
        assert (await caller.http.post("/v2/Good.id-1_x/runsync", json=body)).json()["status"] == "COMPLETED"
        for endpoint_id in IMPOSSIBLE:
            for verb in ("run", "runsync"):
                answer = await caller.http.post(f"/v2/{quote(endpoint_id)}/{verb}", json=body)
                assert answer.status_code == 404, endpoint_id
                assert answer.json()["error"] == f"endpoint {endpoint_id[:64]!r} cannot exist: {RULE}"


@pytest.mark.parametrize("endpoint_id", ["bad id", "_a"])
def test_commands_and_settings_refuse_it_in_the_same_words(tmp_path: Path, endpoint_id: str) -> None:
    done = command(["endpoints", "create", endpoint_id], tmp_path)
    assert (done.returncode, done.stderr) == (2, f"voxgate: {RULE}, got {endpoint_id!r}\n")
    (tmp_path / "voxgate.toml").write_text(f'[endpoints."{endpoint_id}"]\nlanguage = "en"\n')
    done = command(["serve", "--port", "0"], tmp_path)
    assert (done.returncode, done.stderr) == (2, f"voxgate: [endpoints.{endpoint_id}]: {RULE}; rename it\n")
