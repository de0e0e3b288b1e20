"""The command as a whole: help that is quick, errors of one line."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from support.command import VOXGATE, command, environment

from gateway.cli.run import root, run
from voxgate import __version__

COMMANDS = [
    "serve", "say", "batch", "doctor", "backends", "models", "endpoints", "keys", "voices", "pronunciations", "usage",
    "webhooks", "cache", "db", "version",
]  # fmt: skip


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    printed = capsys.readouterr().out
    assert list(root.commands) + list(root.places) == COMMANDS
    for name in COMMANDS:
        assert f"\n  {name} " in printed


@pytest.mark.parametrize("arguments", [[], ["keys"]])
def test_a_command_that_lacks_its_subcommand_shows_its_help_and_nothing_around_it(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert run(arguments) == 2
    printed = capsys.readouterr().err
    run([*arguments, "--help"])
    assert printed == capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from gateway.cli.run import run; run(['--help']); "
        "heavy = {'numpy', 'sqlalchemy', 'litestar', 'msgspec', 'httpx', 'uvicorn', 'structlog', 'alembic'}; "
        "sys.exit(' '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("asked", ["version", "--version"])
def test_version_prints_the_version(asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([asked]) == 0
    assert capsys.readouterr().out.strip() == __version__


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sing"], "No such command 'sing'"),
        (["serve", "--prot", "1"], "No such option"),
        (["keys", "revoke"], "Missing argument"),
        (["cache", "prune"], "choose what to remove"),
        (["cache", "prune", "--to-bytes", "much"], "'much' is not a size; write bytes, or a number and kB, MB or GB"),
        (["keys", "rotate", "nobody"], "no key nobody; see: voxgate keys list"),
        (["keys", "create", "--scope", "speek"], "did you mean speak?"),
        (["keys", "create", "--expires", "soon"], "neither a span (90d, 12h) nor a date"),
        (["keys", "create", "--expires", "99999999999d"], "after the year 9999"),
        (["keys", "create", "--requests-per-minute", "9" * 25], "between 1 and 1000000000000"),
        (["cache", "prune", "--to-bytes", "9" * 25 + "GB"], "is not a size"),
        (["usage", "--days", "999999"], "1<=x<=36500"),
        (["webhooks", "list", "--limit", "9" * 25], "1<=x<=100000"),
        (["say", "hello", "-o", "hello.xyz"], "'.xyz' is not the ending of a format; use one of .mp3, .wav,"),
        (["say", "hello", "--url", "nowhere"], "'nowhere' is not the address of a server"),
        (["say", "hello", "--url", "http://127.0.0.1:9", "--speed", "nan"], "between 0.5 and 2.0, got NaN"),
        (["endpoints", "create", "no/slash"], "got 'no/slash'"),
        (["endpoints", "create", "fast", "--speed", "3"], "0.5<=x<=2.0"),
        (["backends", "test", "nobody"], "nobody"),
    ],
)
def test_a_mistake_is_one_line_with_its_cure_and_exit_code_2(tmp_path: Path, arguments: list[str], words: str) -> None:
    done = command(arguments, tmp_path)
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("voxgate: ")
    assert words in lines[0]
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"VOXGATE_PROT": "1"}, "did you mean VOXGATE_PORT?"),
        ({"VOXGATE_PORT": "eighty"}, "VOXGATE_PORT"),
        ({"VOXGATE_PORT": "70000"}, "65535"),
        ({"VOXGATE_CONFIG": "nowhere.toml"}, "no such file"),
        ({"VOXGATE_DEVICE": "gpu"}, "auto, cpu, cuda, cuda:N or mps"),
        ({"VOXGATE_PLUGINS": "hibary"}, "hibari"),
        ({"VOXGATE_BACKENDS__HIBARI__WORKRES": "2"}, "did you mean VOXGATE_BACKENDS__HIBARI__WORKERS?"),
        ({"VOXGATE_DATABASE__URL": "mysql://localhost/x"}, "use sqlite or postgresql"),
    ],
)
def test_a_wrong_setting_stops_the_server_in_one_line(tmp_path: Path, changes: dict[str, str], words: str) -> None:
    done = command(["serve"], tmp_path, {"VOXGATE_PORT": "0", **changes})
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert words in done.stderr


def test_keys_are_made_listed_rotated_and_revoked(tmp_path: Path) -> None:
    made = json.loads(
        command(
            ["keys", "create", "--tenant", "books", "--env", "prod", "--scope", "speak", "--scope", "voices",
             "--expires", "90d", "--requests-per-minute", "600", "--characters-per-day", "100000", "--show", "--json"],
            tmp_path,
        ).stdout
    )  # fmt: skip
    assert made["key"].startswith("vg_prod_")
    assert (made["tenant"], made["scopes"], made["requests_per_minute"]) == ("books", ["speak", "voices"], 600)

    rotated = json.loads(
        command(["keys", "rotate", made["id"], "--overlap", "1h", "--show", "--json"], tmp_path).stdout
    )
    assert rotated["rotated_from"] == made["id"]
    assert rotated["key"] != made["key"]
    assert (rotated["tenant"], rotated["characters_per_day"]) == ("books", 100_000)

    assert command(["keys", "revoke", rotated["id"]], tmp_path).stdout == f"revoked {rotated['id']}\n"
    listed = {key["id"]: key for key in json.loads(command(["keys", "list", "--json"], tmp_path).stdout)}
    assert listed[rotated["id"]]["state"] == "revoked"
    assert listed[made["id"]]["state"] == "active"
    assert made["key"] not in json.dumps(listed) + command(["keys", "list"], tmp_path).stdout
    assert command(["keys", "list", "--tenant", "nobody", "--json"], tmp_path).stdout.strip() == "[]"


def test_a_key_is_never_printed_into_a_pipe_unless_asked_for(tmp_path: Path) -> None:
    done = command(["keys", "create"], tmp_path)
    (file,) = (tmp_path / "data" / "keys").iterdir()
    assert done.stdout == ""
    assert str(file) in done.stderr
    secret = file.read_text().strip()
    assert secret.startswith("vg_dev_") and secret not in done.stderr
    assert file.stat().st_mode & 0o777 == 0o600

    told = json.loads(command(["keys", "create", "--json", "--output", "app.key"], tmp_path).stdout)
    assert told["key_file"] == "app.key"
    assert "key" not in told
    assert (tmp_path / "app.key").read_text().split("_")[2] == told["id"]
    assert (tmp_path / "app.key").stat().st_mode & 0o777 == 0o600
    again = command(["keys", "rotate", told["id"], "--output", "app.key"], tmp_path)
    assert (again.returncode, again.stdout) == (2, "")
    assert "name a new file" in again.stderr

    rotated = command(["keys", "rotate", told["id"], "--show"], tmp_path).stdout
    assert rotated.startswith("vg_dev_") and len(rotated.splitlines()) == 1
    assert "use only one of them" in command(["keys", "create", "--show", "-o", "x"], tmp_path).stderr
    assert len(json.loads(command(["keys", "list", "--json"], tmp_path).stdout)) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_a_key_is_shown_on_a_terminal(tmp_path: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    try:
        arguments = [*VOXGATE, "keys", "create"]
        done = subprocess.run(
            arguments, cwd=tmp_path, env=environment(tmp_path / "data"), stdin=subprocess.DEVNULL, stdout=theirs,
            stderr=subprocess.PIPE, text=True, check=False, timeout=180,
        )  # fmt: skip
        assert done.returncode == 0
        assert os.read(ours, 1000).decode().startswith("vg_dev_")
        assert "shown once" in done.stderr
        assert not (tmp_path / "data" / "keys").exists()
    finally:
        os.close(ours)
        os.close(theirs)


def test_endpoints_are_made_changed_and_shown(tmp_path: Path) -> None:
    command(["endpoints", "create", "narrator", "--voice", "heart", "--speed", "0.9"], tmp_path)
    again = command(["endpoints", "create", "narrator"], tmp_path)
    assert again.returncode == 2
    assert "--replace" in again.stderr
    changed = command(["endpoints", "create", "narrator", "--speed", "1.5", "--replace", "--json"], tmp_path)
    assert json.loads(changed.stdout)["defaults"] == {"speed": 1.5}
    (tmp_path / "voxgate.toml").write_text('[endpoints.fixed]\nlanguage = "en"\n')
    listed = json.loads(command(["endpoints", "list", "--json"], tmp_path).stdout)
    assert [(endpoint["id"], endpoint["origin"]) for endpoint in listed] == [
        ("fixed", "settings"),
        ("narrator", "database"),
    ]
    shown = command(["endpoints", "show", "narrator"], tmp_path).stdout
    assert "/v2/narrator/run" in shown and "(made by `voxgate endpoints create`)" in shown
    assert "(made by the settings)" in command(["endpoints", "show", "fixed"], tmp_path).stdout
    assert "(made on demand, when it is called)" in command(["endpoints", "show", "new"], tmp_path).stdout


def test_the_database_is_migrated_and_backed_up_on_demand(tmp_path: Path) -> None:
    assert json.loads(command(["db", "current", "--json"], tmp_path).stdout)["state"] == "empty"
    assert command(["db", "backup"], tmp_path).returncode == 2
    assert command(["db", "upgrade"], tmp_path).stdout.startswith("upgraded from nothing")
    assert command(["db", "upgrade"], tmp_path).stdout.startswith("already at")
    assert json.loads(command(["db", "current", "--json"], tmp_path).stdout)["state"] == "ready"
    assert command(["db", "backup"], tmp_path).returncode == 0
    assert len(list((tmp_path / "data").glob("voxgate.db.*.bak"))) == 1


def test_doctor_finds_nothing_wrong_on_a_fresh_machine(tmp_path: Path) -> None:
    done = command(["doctor", "--json"], tmp_path, {"VOXGATE_PORT": "0"})
    findings = json.loads(done.stdout)
    assert done.returncode == 0
    assert {finding["level"] for finding in findings} <= {"ok", "warning"}
    assert "hibari" in {finding["about"] for finding in findings}


def test_doctor_names_each_problem_with_its_cure(tmp_path: Path) -> None:
    done = command(["doctor"], tmp_path, {"VOXGATE_DEVICE": "cuda:9", "VOXGATE_DATA_DIR": "/dev/null/data"})
    assert done.returncode == 2
    problems = [line for line in done.stdout.splitlines() if line.startswith("PROBLEM")]
    assert any("VOXGATE_DATA_DIR" in line for line in problems)
    assert any("VOXGATE_DEVICE" in line for line in problems)


def test_doctor_names_old_keys_and_how_they_are_replaced(tmp_path: Path) -> None:
    made = json.loads(command(["keys", "create", "--json"], tmp_path).stdout)["id"]
    command(["keys", "create"], tmp_path)
    with sqlite3.connect(tmp_path / "data" / "voxgate.db") as connection:
        connection.execute("UPDATE api_keys SET created_ms = created_ms - 91 * 86400000 WHERE id = ?", (made,))
    done = command(["doctor"], tmp_path, {"VOXGATE_PORT": "0"})
    assert done.returncode == 0, "a warning is no problem"
    about_keys = [line for line in done.stdout.splitlines() if "  keys: " in line]
    assert about_keys == [f"warning  keys: {made} is 91 days old; run: voxgate keys rotate {made}"]


def test_doctor_counts_jobs_anew_where_a_count_is_wrong_and_says_so_once(tmp_path: Path) -> None:
    command(["keys", "create"], tmp_path)
    with sqlite3.connect(tmp_path / "data" / "voxgate.db") as connection:
        connection.execute("INSERT INTO job_counts (endpoint_id, state, shard, n) VALUES ('news', 'IN_QUEUE', 0, 7)")
    told = [command(["doctor"], tmp_path, {"VOXGATE_PORT": "0"}).stdout for _ in range(2)]
    about = [[line for line in said.splitlines() if "  counts: " in line] for said in told]
    assert about[0][0].startswith("warning  counts: 1 counts") and "7 IN_QUEUE at endpoint news" in about[0][0]
    assert about[1] == ["ok       counts: the counts of waiting and running jobs are right"]


def test_backends_are_listed_with_what_enables_or_mends_them(tmp_path: Path) -> None:
    rows = {row["name"]: row for row in json.loads(command(["backends", "list", "--json"], tmp_path).stdout)}
    assert rows["hibari"]["state"] == "found"
    assert rows["hibari"]["languages"] == ["en-US"]
    assert not rows["scripted"]["enabled"]
    assert rows["scripted"]["remark"] == "loads when named: VOXGATE_PLUGINS=scripted"
    assert "hibari" in command(["backends"], tmp_path).stdout
