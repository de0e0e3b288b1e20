"""Every setting there is: one frozen Struct per table of voxgate.toml, a description on each field."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gateway.settings.origins import env_name
from gateway.settings.secrets import hide_password

_SECRET = {"secret": True}

Positive = Annotated[int, Meta(ge=1)]
LONGEST_S = 3_155_760_000
"""A century: what means "for ever" must still be a time in a database."""
PositiveSeconds = Annotated[float, Meta(gt=0, le=LONGEST_S)]
Text = Annotated[str, Meta(min_length=1)]
Url = Annotated[str, Meta(pattern=r"^https?://[^\s]+$", extra={"words": "a URL that begins with http:// or https://"})]
Device = Annotated[
    str,
    Meta(pattern=r"^(auto|cpu|mps|cuda(:[0-9]+)?)$", extra={"words": "auto, cpu, cuda, cuda:N or mps"}),
]


class DatabaseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`[database]`: where jobs, keys and usage live."""

    url: Annotated[
        Text | None,
        Meta(
            description="SQLAlchemy URL: `sqlite:////path/to/file` or `postgresql://user:password@host/name`. "
            "Without one: SQLite in the data folder.",
            extra=_SECRET,
        ),
    ] = None

    def __repr__(self) -> str:
        """The URL without its password."""
        return f"DatabaseSettings(url={hide_password(self.url)!r})"

    __str__ = __repr__


class JobSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`[jobs]`: how accepted work is queued, leased, tried again and kept."""

    max_running: Annotated[
        Positive,
        Meta(description="Jobs one server runs at a time; a quarter of them, at least 2, only of one or two chunks."),
    ] = 32
    running_bytes: Annotated[
        Positive,
        Meta(
            description="Bytes of memory for the longer jobs one server runs at a time, as estimated from their texts; "
            "one that is larger runs alone."
        ),
    ] = 256_000_000
    lease_s: Annotated[
        PositiveSeconds, Meta(description="Seconds without a sign of life after which a running job is taken over.")
    ] = 10.0
    beat_s: Annotated[
        PositiveSeconds, Meta(description="Seconds between signs of life; at most a third of `lease_s`.")
    ] = 2.0
    max_attempts: Annotated[
        Positive,
        Meta(
            description="Failures in a row without a finished chunk that make a job FAILED; a server's death is none."
        ),
    ] = 3
    stall_timeout_s: Annotated[
        PositiveSeconds,
        Meta(description="Seconds since the last finished chunk after which a job without its own limit is TIMED_OUT."),
    ] = 600.0
    ttl_s: Annotated[
        PositiveSeconds, Meta(description="Seconds a job may wait and run when its policy names no `ttl`.")
    ] = 86_400.0
    retention_run_s: Annotated[
        PositiveSeconds, Meta(description="Seconds the result of `/run` is kept after its end (RunPod: 30 minutes).")
    ] = 7 * 86_400.0
    retention_runsync_s: Annotated[
        PositiveSeconds, Meta(description="Seconds the result of `/runsync` is kept after its end (RunPod: 1 minute).")
    ] = 86_400.0
    queue_limit: Annotated[
        Positive | None, Meta(description="Waiting jobs per endpoint above which `/run` answers 429. None: no limit.")
    ] = None
    take_retries: Annotated[
        Annotated[int, Meta(ge=0, le=10)],
        Meta(description="How often a chunk is spoken again when its take is flawed; the best take is kept."),
    ] = 2
    chunk_window: Annotated[Positive, Meta(description="Chunks of one job that may be with a backend at a time.")] = 16


class CacheSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`[cache]`: how much finished audio is kept, and for whom."""

    scope: Annotated[
        Literal["tenant", "shared"],
        Meta(description="Who may be answered from an entry: its own tenant, or everybody."),
    ] = "tenant"
    max_bytes: Annotated[
        Annotated[int, Meta(ge=0)],
        Meta(description="Bytes of finished audio kept; the least recently used goes first."),
    ] = 10_000_000_000
    max_age_s: Annotated[
        PositiveSeconds | None,
        Meta(description="Seconds after which an unused entry goes. None: age alone never evicts."),
    ] = None
    hot_bytes: Annotated[
        Annotated[int, Meta(ge=0)],
        Meta(
            description="Bytes of audio kept in memory, ready to be sent. What was read of requests and made ready of "
            "answers is kept beside it, up to another third and at least up to 2 MB."
        ),
    ] = 128_000_000
    stream_bytes: Annotated[
        Annotated[int, Meta(ge=0)],
        Meta(
            description="Bytes of audio and texts kept between two polls of `/stream`, for all callers. What is let go "
            "for want of room, or unread for a minute, is made again when the next poll comes."
        ),
    ] = 64_000_000
    takes_bytes: Annotated[
        Annotated[int, Meta(ge=0)],
        Meta(description="Bytes of spoken chunks kept; those of unfinished jobs always stay."),
    ] = 5_000_000_000
    sweep_every_s: Annotated[
        PositiveSeconds, Meta(description="Seconds between two sweeps of old jobs, entries and files.")
    ] = 600.0
    blob_grace_s: Annotated[
        PositiveSeconds,
        Meta(description="Seconds a file in no use is left alone, from the first sweep that finds it so."),
    ] = 3600.0


class EndpointSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`[endpoints.ID]`: a public name in the URL, what its requests default to, and its route policy."""

    backend: Annotated[Text | None, Meta(description="The backend that speaks when the request names none.")] = None
    voice: Annotated[Text | None, Meta(description="The voice when the request names none.")] = None
    language: Annotated[Text | None, Meta(description="BCP 47 tag when the request names none.")] = None
    format: Annotated[
        Literal["mp3", "wav", "pcm", "flac", "opus", "aac"] | None,
        Meta(description="Audio format when the request names none."),
    ] = None
    speed: Annotated[
        Annotated[float, Meta(ge=0.5, le=2.0)] | None, Meta(description="Speed when the request names none.")
    ] = None
    defaults: Annotated[
        dict[str, Any], Meta(description="Any other key of `input` and its default, such as `seed` or `bitrate`.")
    ] = {}
    policy: Annotated[
        dict[str, Any], Meta(description="The route policy; its one key is `fallback`, a list of backends.")
    ] = {}

    def input_defaults(self) -> dict[str, Any]:
        """Defaults for the keys of `input`, only those that are set."""
        named = {
            "backend": self.backend,
            "voice": self.voice,
            "language": self.language,
            "format": self.format,
            "speed": self.speed,
        }
        return {**self.defaults, **{key: value for key, value in named.items() if value is not None}}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of one server. Build it with `load_settings`, or directly in a test."""

    data_dir: Annotated[Path, Meta(description="Folder of the database, audio and models.")] = Path("voxgate-data")
    host: Annotated[Text, Meta(description="Address to listen on; 0.0.0.0 for every interface.")] = "127.0.0.1"
    port: Annotated[
        Annotated[int, Meta(ge=0, le=65_535)], Meta(description="Port to listen on; 0 picks a free one.")
    ] = 8000
    api_key: Annotated[
        Text | None,
        Meta(
            description="A key of any form with every scope, for the tenant `default`; at least 16 characters.",
            extra=_SECRET,
        ),
    ] = None
    plugins: Annotated[
        tuple[str, ...] | None,
        Meta(description="The backends that may load, exactly. None: every installed one but `scripted`."),
    ] = None
    default_backend: Annotated[
        Text | None, Meta(description="The backend of endpoints that name none. None: the best one available.")
    ] = None
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="The least severe log lines written.")
    ] = "info"
    log_format: Annotated[Literal["console", "json"], Meta(description="Log lines for people or for machines.")] = (
        "console"
    )
    cors_origins: Annotated[
        tuple[str, ...],
        Meta(description="Origins whose pages may call the API, such as `https://app.example.com`; `*` for any."),
    ] = ()
    metrics_access: Annotated[
        Literal["open", "key", "off"],
        Meta(description="Who may read `/metrics`: everybody, keys with the scope `admin`, or nobody."),
    ] = "open"
    public_url: Annotated[
        Url | None,
        Meta(
            description="Where callers reach this server, for `audio_url`; set it behind a proxy or in a container. "
            "None: as the request's Host says, in webhooks the address listened on."
        ),
    ] = None
    auto_endpoints: Annotated[
        bool | None,
        Meta(description="Whether an endpoint id nobody made works at once. None: only with the embedded SQLite."),
    ] = None
    limits: Annotated[
        Literal["off", "runpod"],
        Meta(description="Limits per endpoint: none, or RunPod's figures for requests and for jobs that wait."),
    ] = "off"
    device: Annotated[
        Device, Meta(description="Where models run: auto, cpu, cuda, cuda:N or mps.", extra={"alias": "DEVICE"})
    ] = "auto"
    cache_dir: Annotated[
        Path | None,
        Meta(description="Folder of audio. None: `audio` in the data folder.", extra={"alias": "CACHE_DIR"}),
    ] = None
    model_cache_dir: Annotated[
        Path | None,
        Meta(
            description="Folder of downloaded models. None: `models` in the data folder.",
            extra={"alias": "MODEL_CACHE_DIR"},
        ),
    ] = None
    max_chars_per_chunk: Annotated[
        Positive | None,
        Meta(
            description="Lowers the longest chunk of every backend; above a backend's own maximum it changes nothing.",
            extra={"alias": "MAX_CHARS_PER_CHUNK"},
        ),
    ] = None
    hf_token: Annotated[
        Text | None,
        Meta(description="Token for downloads from the Hugging Face hub.", extra={"alias": "HF_TOKEN", **_SECRET}),
    ] = None
    webhook_allow: Annotated[
        tuple[str, ...],
        Meta(description="Private hosts or networks webhooks may go to: `hooks.internal`, `127.0.0.1`, `10.0.0.0/8`."),
    ] = ()
    webhook_bytes: Annotated[
        Positive,
        Meta(
            description="Bytes of webhook bodies held in memory at a time: texts of jobs, and pieces of their audio. "
            "The others wait; no tenant gets more than half."
        ),
    ] = 64_000_000
    max_inline_bytes: Annotated[
        Annotated[int, Meta(ge=0)],
        Meta(description="Most encoded bytes of audio inside an answer; above: `audio_url` only."),
    ] = 20_000_000
    min_free_bytes: Annotated[
        Annotated[int, Meta(ge=0)],
        Meta(
            description="Bytes that must be free in the folders of the database and of the audio; below, the server "
            "is not ready, accepts no job and claims none. 0: never."
        ),
    ] = 2_000_000
    audio_url_ttl_s: Annotated[PositiveSeconds, Meta(description="Seconds an `audio_url` works.")] = 86_400.0
    signing_key: Annotated[
        Annotated[str, Meta(min_length=16)] | None,
        Meta(
            description="Signs audio URLs; the same on every server of one database. None: made once and kept in the "
            "data folder.",
            extra=_SECRET,
        ),
    ] = None
    max_body_run_bytes: Annotated[Positive, Meta(description="Largest body of `/run`.")] = 10_000_000
    max_body_runsync_bytes: Annotated[Positive, Meta(description="Largest body of `/runsync`.")] = 20_000_000
    shutdown_grace_s: Annotated[
        Annotated[float, Meta(ge=0, le=LONGEST_S)],
        Meta(description="Seconds running jobs may take to finish when the server stops."),
    ] = 20.0
    database: Annotated[DatabaseSettings, Meta(description="Where jobs, keys and usage live.")] = DatabaseSettings()
    jobs: Annotated[JobSettings, Meta(description="Queue, leases, tries, retention.")] = JobSettings()
    cache: Annotated[CacheSettings, Meta(description="How much audio is kept.")] = CacheSettings()
    backends: Annotated[
        dict[str, dict[str, Any]],
        Meta(description="`[backends.NAME]`: a backend's own settings and the host's beside them."),
    ] = {}
    endpoints: Annotated[
        dict[str, EndpointSettings], Meta(description="`[endpoints.ID]`: endpoints made by configuration.")
    ] = {}
    origins: dict[str, str] = {}
    """Where each value was set, by dotted path; no setting itself."""

    def origin(self, path: str) -> str:
        """Where the setting at this path was set, or one inside it, or one around it; its variable if nowhere."""
        if found := next((self.origins[each] for each in self.origins if f"{each}.".startswith(f"{path}.")), None):
            return found
        around = path
        while around := around.rpartition(".")[0]:
            if around in self.origins:
                return self.origins[around]
        return env_name(path)

    @property
    def audio_dir(self) -> Path:
        """The folder of the audio store: `cache_dir`, else `audio` in the data folder."""
        return self.cache_dir if self.cache_dir is not None else self.data_dir / "audio"

    @property
    def models_dir(self) -> Path:
        """The folder of models: `model_cache_dir`, else `models` in the data folder."""
        return self.model_cache_dir if self.model_cache_dir is not None else self.data_dir / "models"

    @property
    def database_url(self) -> str:
        """The database's SQLAlchemy URL, with the embedded SQLite filled in."""
        return self.database.url or f"sqlite:///{(self.data_dir / 'voxgate.db').absolute()}"

    @property
    def embedded(self) -> bool:
        """Whether the database is SQLite: one machine, nothing to administer."""
        return self.database_url.startswith("sqlite")

    @property
    def work_dirs(self) -> tuple[Path, ...]:
        """The folders that accepted work needs room in: of the audio and, where it is a file, of the database."""
        if not self.embedded:
            return (self.audio_dir,)
        path = self.database_url.partition(":///")[2].partition("?")[0]
        return (Path(path).parent, self.audio_dir)

    @property
    def endpoints_on_demand(self) -> bool:
        """Whether an unknown endpoint id works at once (`auto_endpoints`, its default filled in)."""
        return self.embedded if self.auto_endpoints is None else self.auto_endpoints

    def __repr__(self) -> str:
        """Every field but the secrets, which show only whether they are set."""
        shown = []
        for name in self.__struct_fields__:
            if name == "origins":
                continue
            value = getattr(self, name)
            if name in ("api_key", "hf_token", "signing_key"):
                value = None if value is None else "***"
            elif name == "backends":
                # A vendor's key lives here under a name only the plugin knows.
                value = {backend: sorted(table) for backend, table in value.items()}
            shown.append(f"{name}={value!r}")
        return f"Settings({', '.join(shown)})"

    __str__ = __repr__
