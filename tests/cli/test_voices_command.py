"""`voxgate voices` and `voxgate pronunciations`, as they are typed."""

from __future__ import annotations

import io
import json
from pathlib import Path

import soundfile
from support.command import command
from support.voices import CONSENT, recording


def test_a_voice_is_made_listed_heard_and_deleted(tmp_path: Path) -> None:
    (tmp_path / "ann.flac").write_bytes(recording(form="FLAC"))
    made = command(["voices", "add", "ann", "ann.flac", "--consent", CONSENT, "--language", "en"], tmp_path)
    assert made.returncode == 0, made.stderr
    assert "ann: 4.0 s of speech" in made.stdout
    (listed,) = json.loads(command(["voices", "list", "--json"], tmp_path).stdout)
    assert (listed["name"], listed["consent"]) == ("ann", CONSENT)
    assert "none" in command(["voices", "list", "--tenant", "other"], tmp_path).stdout
    assert command(["voices", "play", "ann", "-o", "heard.wav"], tmp_path).returncode == 0
    assert soundfile.info(io.BytesIO((tmp_path / "heard.wav").read_bytes())).samplerate == 24_000
    stranger = command(["voices", "remove", "ann", "--tenant", "other"], tmp_path)
    assert stranger.returncode == 2 and "no voice 'ann'" in stranger.stderr
    assert command(["voices", "remove", "ann"], tmp_path).returncode == 0
    assert json.loads(command(["voices", "list", "--json"], tmp_path).stdout) == []


def test_a_recording_that_cannot_be_used_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"RIFF this is none")
    done = command(["voices", "add", "bad", "bad.wav", "--consent", CONSENT], tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "cannot be decoded" in done.stderr


def test_a_dictionary_is_set_imported_listed_and_emptied(tmp_path: Path) -> None:
    assert (
        command(["pronunciations", "set", "Nguyen", "Win", "--language", "en"], tmp_path).stdout
        == "version 1: 1 entry\n"
    )
    rows = 'phrase,respelling,language\nNaCl,salt,\n"New York","Noo Yawk",en-US\n'
    assert "version 2: 3 entries" in command(["pronunciations", "import", "-"], tmp_path, stdin=rows).stdout
    listed = command(["pronunciations", "list", "--json"], tmp_path).stdout
    assert [(e["phrase"], e["language"]) for e in json.loads(listed)["entries"]] == [
        ("Nguyen", "en"),
        ("NaCl", "*"),
        ("New York", "en-US"),
    ]
    gone = command(["pronunciations", "remove", "nguyen", "--language", "en"], tmp_path)
    assert gone.stdout == "version 3: 2 entries\n"
    assert command(["pronunciations", "remove", "--all"], tmp_path).stdout == "version 4: 0 entries\n"
    (tmp_path / "kept.json").write_text(listed)
    back = command(["pronunciations", "import", "kept.json", "--replace"], tmp_path)
    assert back.stdout == "version 5: 3 entries\n", back.stderr
    for arguments, stdin in ((["remove"], None), (["import", "-"], "a\n"), (["import", "-"], "[{}]")):
        wrong = command(["pronunciations", *arguments], tmp_path, stdin=stdin)
        assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
