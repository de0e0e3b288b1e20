"""A new release on the data of an old one: `serve` backs up, migrates, and goes on with what was there."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.command import VOXGATE, Served, command, serving_command
from support.releases import next_release

import migrations

pytestmark = pytest.mark.slow

SCRIPTED = {"VOXGATE_PLUGINS": "scripted"}
ADD_A_TABLE = ("CREATE TABLE later (id INTEGER PRIMARY KEY)", "INSERT INTO later SELECT COUNT(*) FROM jobs")


def _ask(server: Served, verb: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {server.key}"}
    method = "GET" if body is None else "POST"
    answer = httpx.request(method, f"{server.url}/{verb}", headers=headers, json=body, timeout=60, trust_env=False)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def _say(server: Served, text: str) -> dict[str, Any]:
    return _ask(server, "runsync", {"input": {"text": text}})


def _rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        return connection.execute(sql).fetchall()


def _copies(folder: Path) -> list[Path]:
    return sorted((folder / "data").glob("*.bak"))


def test_the_database_of_the_release_before_is_backed_up_and_migrated_at_the_start_and_can_be_put_back(
    tmp_path: Path,
) -> None:
    with serving_command(VOXGATE, tmp_path, SCRIPTED) as old:
        before = _say(old, "Spoken before the upgrade.")
        assert old.stop() == 0
    assert not _copies(tmp_path), "a new database is nothing to back up"
    by_hand = []
    for _ in range(3):
        made = command(["db", "backup"], tmp_path)
        assert made.returncode == 0, made.stderr
        (fresh,) = set(_copies(tmp_path)) - set(by_hand)
        by_hand.append(fresh)
    new = next_release(tmp_path / "new", "9001", ADD_A_TABLE)
    with serving_command(VOXGATE, tmp_path, SCRIPTED | new) as server:
        copies = _copies(tmp_path)
        assert _ask(server, f"status/{before['id']}")["output"]["cache_key"] == before["output"]["cache_key"]
        assert _say(server, "Spoken before the upgrade.")["output"]["cache_hit"] is True
        assert _say(server, "Spoken after it.")["status"] == "COMPLETED"
        assert server.stop() == 0
        said = re.findall(r"database backed up to (\S+)", "".join(server.log))
    # The last three are kept: the oldest made by hand is gone.
    assert copies[:2] == by_hand[1:] and len(copies) == 3
    assert [Path(path).name for path in said] == [copies[-1].name]
    database = tmp_path / "data" / "voxgate.db"
    assert _rows(database, "SELECT version_num FROM alembic_version") == [("9001",)]
    assert _rows(database, "SELECT id FROM later") == [(1,)], "the migration saw the job that was there"
    for copy in copies:
        assert _rows(copy, "PRAGMA integrity_check") == [("ok",)]
        assert _rows(copy, "SELECT version_num FROM alembic_version") == [(migrations.HEAD,)]
        assert _rows(copy, "SELECT id, state FROM jobs") == [(before["id"], "COMPLETED")]
        assert _rows(copy, "SELECT name FROM sqlite_master WHERE name = 'later'") == []
    copies[-1].replace(database)
    with serving_command(VOXGATE, tmp_path, SCRIPTED) as old:
        assert _say(old, "Spoken before the upgrade.")["output"]["cache_hit"] is True


def test_a_migration_that_fails_changes_nothing_and_leaves_a_copy(tmp_path: Path) -> None:
    with serving_command(VOXGATE, tmp_path, SCRIPTED) as old:
        before = _say(old, "Spoken before the upgrade.")
        assert old.stop() == 0
    broken = next_release(tmp_path / "new", "9001", (*ADD_A_TABLE, "INSERT INTO later VALUES (1)"))
    done = command(["serve", "--port", "0"], tmp_path, SCRIPTED | broken)
    assert done.returncode == 2
    told, why = done.stderr.strip().splitlines()
    assert "backed up to" in told
    assert "cannot be migrated" in why
    assert len(_copies(tmp_path)) == 1
    database = tmp_path / "data" / "voxgate.db"
    assert _rows(database, "SELECT version_num FROM alembic_version") == [(migrations.HEAD,)]
    assert _rows(database, "SELECT name FROM sqlite_master WHERE name = 'later'") == []
    assert _rows(database, "SELECT id, state FROM jobs") == [(before["id"], "COMPLETED")]
