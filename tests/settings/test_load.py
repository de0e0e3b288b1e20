from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest

from gateway.errors import SettingsError
from gateway.settings import Settings, decode_section, describe, load_settings


def _toml(folder: Path, text: str) -> Path:
    path = folder / "voxgate.toml"
    path.write_text(text, encoding="utf-8")
    return path


def _refused(env: dict[str, str] | None = None, toml: Path | None = None, **flags: object) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(env or {}, toml, flags)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_nothing_set_gives_the_embedded_defaults() -> None:
    settings = load_settings({})
    assert settings == Settings()
    assert settings.embedded
    assert settings.endpoints_on_demand
    assert settings.audio_dir == Path("voxgate-data/audio")
    assert settings.models_dir == Path("voxgate-data/models")
    assert settings.database_url.endswith("/voxgate-data/voxgate.db")


def test_a_flag_beats_a_variable_beats_an_alias_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    toml = _toml(tmp_path, 'device = "cpu"\nport = 9000\n')
    assert load_settings({}, toml).device == "cpu"
    assert load_settings({"DEVICE": "cuda:1"}, toml).device == "cuda:1"
    assert load_settings({"DEVICE": "cuda:1", "VOXGATE_DEVICE": "mps"}, toml).device == "mps"
    flagged = load_settings({"DEVICE": "cuda:1", "VOXGATE_DEVICE": "mps"}, toml, {"device": "cuda", "port": None})
    assert (flagged.device, flagged.port) == ("cuda", 9000)


def test_the_guides_own_variables_are_aliases() -> None:
    settings = load_settings(
        {
            "DEVICE": "cuda",
            "CACHE_DIR": "/runpod-volume/tts_cache",
            "MODEL_CACHE_DIR": "/runpod-volume/models",
            "MAX_CHARS_PER_CHUNK": "500",
            "HF_TOKEN": "hf_your_token",
        }
    )
    assert settings.device == "cuda"
    assert settings.audio_dir == Path("/runpod-volume/tts_cache")
    assert settings.models_dir == Path("/runpod-volume/models")
    assert settings.max_chars_per_chunk == 500
    assert settings.hf_token == "hf_your_token"


def test_every_documented_setting_can_be_set_by_its_variable() -> None:
    samples = {"text": "x" * 20, "a path": "/x", "true or false": "yes", "a list of names, separated by commas": "a,b"}
    for doc in describe():
        if doc.annotation is None:
            continue
        value = samples.get(doc.type) or doc.default.strip('"')
        if doc.type.startswith("one of "):
            value = doc.type.removeprefix("one of ").split(", ")[0]
        elif doc.type.startswith("text"):
            value = "x" * 20
        elif doc.type.startswith("a URL"):
            value = "https://voice.example"
        elif doc.type.startswith(("an integer", "a number")) and not value:
            value = "1"
        if doc.name in ("jobs.lease_s", "jobs.beat_s"):
            continue
        load_settings({doc.env.replace("__ID__", "__MINE__"): value or "{}"})


def test_every_setting_has_a_description() -> None:
    docs = describe()
    assert len(docs) > 40
    for doc in docs:
        assert doc.description.endswith((".", "`")), doc.name


def test_a_mistyped_variable_is_refused_with_the_nearest_name() -> None:
    assert _refused({"VOXGATE_PROT": "1"}) == "VOXGATE_PROT: no such setting; did you mean VOXGATE_PORT?"
    assert "VOXGATE_JOBS__LEASE_S?" in _refused({"VOXGATE_JOBS__LEASES": "1"})
    assert "VOXGATE_ENDPOINTS__A__VOICE?" in _refused({"VOXGATE_ENDPOINTS__A__VIOCE": "x"})


def test_a_mistyped_key_of_the_file_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    assert "voxgate.toml: jobs.leese_s: no such setting; did you mean lease_s?" in _refused(
        toml=_toml(tmp_path, "[jobs]\nleese_s = 3\n")
    )
    assert "did you mean cache?" in _refused(toml=_toml(tmp_path, "[cahce]\nmax_bytes = 3\n"))
    assert "did you mean voice?" in _refused(toml=_toml(tmp_path, '[endpoints.a]\nvoise = "x"\n'))


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (
            {"VOXGATE_PORT": "abc"},
            "VOXGATE_PORT = 'abc': must be an integer between 0 and 65535 (left out, it is 8000)",
        ),
        ({"VOXGATE_PORT": "99999"}, "VOXGATE_PORT = '99999': must be an integer between 0 and 65535"),
        ({"DEVICE": "gpu"}, "DEVICE = 'gpu': must be auto, cpu, cuda, cuda:N or mps"),
        ({"VOXGATE_CACHE__SCOPE": "all"}, "must be one of tenant, shared"),
        ({"VOXGATE_JOBS__LEASE_S": "nan"}, "must be a number above 0"),
        ({"VOXGATE_AUTO_ENDPOINTS": "maybe"}, "must be true or false"),
        ({"VOXGATE_PUBLIC_URL": "voice.example"}, "must be a URL that begins with http:// or https://"),
        ({"VOXGATE_ENDPOINTS__A__SPEED": "9"}, "must be a number between 0.5 and 2.0"),
        ({"VOXGATE_BACKENDS__HIBARI": "9"}, "needs a name and a key"),
    ],
)
def test_a_wrong_value_is_answered_by_its_variable_its_value_and_what_it_may_be(
    env: dict[str, str], message: str
) -> None:
    assert message in _refused(env)


def test_a_wrong_flag_is_named_as_a_flag() -> None:
    assert _refused(port="many").startswith("--port = 'many': must be an integer")


def test_a_wrong_type_in_the_file_is_refused_even_if_it_could_be_read(tmp_path: Path) -> None:
    assert "voxgate.toml: port = '8000': must be an integer" in _refused(toml=_toml(tmp_path, 'port = "8000"\n'))


def test_a_beat_too_slow_for_its_lease_is_refused() -> None:
    assert "jobs.beat_s (2) must be at most a third of jobs.lease_s (3)" in _refused({"VOXGATE_JOBS__LEASE_S": "3"})
    assert load_settings({"VOXGATE_JOBS__LEASE_S": "3", "VOXGATE_JOBS__BEAT_S": "0.5"}).jobs.lease_s == 3


def test_a_named_file_must_exist_and_be_toml(tmp_path: Path) -> None:
    assert "no such file" in _refused({"VOXGATE_CONFIG": str(tmp_path / "none.toml")})
    assert "not TOML" in _refused(toml=_toml(tmp_path, "port = = 3"))


def test_sizes_may_carry_a_unit(tmp_path: Path) -> None:
    assert load_settings({"VOXGATE_CACHE__MAX_BYTES": "10GB"}).cache.max_bytes == 10_000_000_000
    assert load_settings({}, _toml(tmp_path, '[cache]\nhot_bytes = "64 MiB"\n')).cache.hot_bytes == 64 * 1024 * 1024


def test_an_empty_variable_is_an_unset_one_but_an_empty_list_is_a_list() -> None:
    settings = load_settings({"VOXGATE_API_KEY": "", "VOXGATE_PORT": "", "VOXGATE_PLUGINS": ""})
    assert settings.api_key is None
    assert settings.port == 8000
    assert settings.plugins == ()
    assert load_settings({"VOXGATE_PLUGINS": "hibari, scripted"}).plugins == ("hibari", "scripted")


def test_backends_keep_their_tables_and_the_environment_adds_to_them(tmp_path: Path) -> None:
    toml = _toml(tmp_path, '[backends.hibari]\nworkers = 1\ndevice = "cpu"\n[backends.my-cloud]\nregion = "eu"\n')
    env = {"VOXGATE_BACKENDS__HIBARI__WORKERS": "2", "VOXGATE_BACKENDS__MY_CLOUD__REGION": "us"}
    assert load_settings(env, toml).backends == {
        "hibari": {"workers": "2", "device": "cpu"},
        "my-cloud": {"region": "us"},
    }


def test_settings_know_where_they_were_set(tmp_path: Path) -> None:
    toml = _toml(
        tmp_path, 'host = "0.0.0.0"\n[backends.my-cloud]\nregion = "eu"\n[endpoints.A-b.policy]\nfallback = []\n'
    )
    env = {"DEVICE": "cpu", "VOXGATE_BACKENDS__MY_CLOUD__ZONE": "b"}
    settings = load_settings(env, toml, {"port": 9000})
    assert {path: settings.origin(path) for path in ("host", "device", "port", "data_dir")} == {
        "host": "voxgate.toml: host",
        "device": "DEVICE",
        "port": "--port",
        "data_dir": "VOXGATE_DATA_DIR",
    }
    assert settings.origin("backends.my-cloud.region") == "voxgate.toml: [backends.my-cloud] region"
    assert settings.origin("backends.my-cloud.zone") == "VOXGATE_BACKENDS__MY_CLOUD__ZONE"
    assert settings.origin("endpoints.A-b.policy.fallback") == "voxgate.toml: [endpoints.A-b] policy"


def test_endpoints_come_from_the_file_and_the_environment(tmp_path: Path) -> None:
    toml = _toml(
        tmp_path,
        '[endpoints.70sq2akye030kh]\nbackend = "hibari"\nspeed = 1.5\n[endpoints.70sq2akye030kh.defaults]\nseed = 7\n',
    )
    endpoint = load_settings({"VOXGATE_ENDPOINTS__70SQ2AKYE030KH__FORMAT": "wav"}, toml).endpoints["70sq2akye030kh"]
    assert endpoint.input_defaults() == {"seed": 7, "backend": "hibari", "format": "wav", "speed": 1.5}


def test_a_backends_own_table_is_decoded_with_the_same_care() -> None:
    class Mine(msgspec.Struct, frozen=True):
        region: str
        workers: int = 1
        warm: bool = False
        names: tuple[str, ...] = ()

    decoded = decode_section(Mine, {"region": "eu", "workers": "2", "warm": "yes", "names": "a,b"}, "backends.mine")
    assert decoded == Mine("eu", 2, True, ("a", "b"))
    with pytest.raises(SettingsError, match=r"\[backends\.mine\] wokers: no such setting; did you mean workers\?"):
        decode_section(Mine, {"region": "eu", "wokers": 1}, "backends.mine")
    with pytest.raises(SettingsError, match="VOXGATE_BACKENDS__MINE__REGION"):
        decode_section(Mine, {}, "backends.mine")
    env = {"VOXGATE_BACKENDS__MINE__WORKERS": "many"}
    with pytest.raises(
        SettingsError, match=r"^VOXGATE_BACKENDS__MINE__WORKERS = 'many': must be an integer \(or leave it out\)$"
    ):
        decode_section(Mine, {"region": "eu", "workers": "many"}, "backends.mine", load_settings(env).origins)


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("level", "7"),
        ("share", "7"),
        ("warm", "7"),
        ("model", "7"),
        ("api_key", "***"),
        ("key_or_level", "***"),
        ("keys", "***"),
    ],
)
def test_of_a_backends_own_values_only_one_that_cannot_be_a_secret_is_shown(key: str, shown: str) -> None:
    class Mine(msgspec.Struct, frozen=True):
        level: Annotated[int, msgspec.Meta(le=3)] | None = None
        share: Annotated[float, msgspec.Meta(le=1)] = 0.0
        warm: bool = False
        model: Literal["small", "large"] | None = None
        api_key: Annotated[str, msgspec.Meta(min_length=8)] | None = None
        key_or_level: Annotated[str, msgspec.Meta(min_length=8)] | Annotated[int, msgspec.Meta(le=3)] = 0
        keys: tuple[Annotated[str, msgspec.Meta(min_length=8)], ...] = ()

    with pytest.raises(SettingsError) as caught:
        decode_section(Mine, {key: "7"}, "backends.mine")
    assert f"{key} = {shown if shown == '***' else repr('7')}: must be" in str(caught.value)
    assert "(or leave it out)" in str(caught.value)


def test_no_secret_is_ever_printed() -> None:
    secret = "s3cr3t-and-long-enough"
    settings = load_settings(
        {
            "VOXGATE_API_KEY": secret,
            "VOXGATE_SIGNING_KEY": secret,
            "HF_TOKEN": secret,
            "VOXGATE_DATABASE__URL": f"postgresql+asyncpg://voxgate:{secret}@db/voxgate",
            "VOXGATE_BACKENDS__CLOUD__API_KEY": secret,
        }
    )
    assert settings.api_key == secret
    assert secret not in repr(settings) + str(settings) + repr(settings.database) + f"{settings}"
    assert "short-secret" not in _refused({"VOXGATE_SIGNING_KEY": "short-secret"})


@pytest.mark.parametrize(
    ("toml", "env", "flags", "words"),
    [
        ("", {"VOXGATE_PORT": "abc"}, {"port": 8001}, r"VOXGATE_PORT = 'abc': must be an integer"),
        ('port = "abc"', {"VOXGATE_PORT": "8001"}, {}, r"voxgate\.toml: port = 'abc': must be an integer"),
        (
            "[endpoints.a]\nspeed = 9.0",
            {"VOXGATE_ENDPOINTS__A__SPEED": "1.5"},
            {},
            r"voxgate\.toml: \[endpoints\.a\] speed = 9\.0: must be a number",
        ),
    ],
)
def test_a_wrong_value_is_named_though_another_stands_above_it(
    tmp_path: Path, toml: str, env: dict, flags: dict, words: str
) -> None:
    path = tmp_path / "voxgate.toml"
    path.write_text(toml)
    with pytest.raises(SettingsError, match=f"^{words}"):
        load_settings(env, path, flags)


def test_an_alias_that_means_something_else_here_can_be_overridden() -> None:
    assert load_settings({"DEVICE": "/dev/sda", "VOXGATE_DEVICE": "cpu"}).device == "cpu"


@pytest.mark.parametrize("name", ["ttl_s", "retention_run_s"])
def test_for_ever_is_no_time_that_a_database_could_hold(tmp_path: Path, name: str) -> None:
    for value in ("inf", "1e300"):
        for message in (
            _refused(toml=_toml(tmp_path, f"[jobs]\n{name} = {value}\n")),
            _refused({f"VOXGATE_JOBS__{name.upper()}": value}),
        ):
            assert "must be a number above 0 and at most 3155760000" in message
    century = load_settings({f"VOXGATE_JOBS__{name.upper()}": "3155760000"})
    assert getattr(century.jobs, name) == 3_155_760_000
