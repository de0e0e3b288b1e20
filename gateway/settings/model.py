"""All settings: one frozen Struct per table of voxgate.toml, with a description on each field."""

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
"""A century: the longest time, so that even "for ever" fits a database."""
PositiveSeconds = Annotated[float, Meta(gt=0, le=LONGEST_S)]
Text = Annotated[str, Meta(min_length=1)]
Url = Annotated[str, Meta(pattern=r"^https?://[^\s]+$", extra={"words": "a URL that begins with http:// or https://"})]
Device = Annotated[
    str,
    Meta(pattern=r"^(auto|cpu|mps|cuda(:[0-9]+)?)$", extra={"words": "auto, cpu, cuda, cuda:N or mps"}),
]


class DatabaseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`[database]`: the database of jobs, keys and usage."""

    url: Annotated[
        Text | None,
        Meta(
            description="SQLAlchemy URL: `sqlite:////path/to/file` or `postgresql://user:password@host/name`. "
            "None: SQLite in the data folder.",
            extra=_SECRET,
        ),
    ] = None

    def __repr__(self) -> str:
        """Hide the password in the URL."""
        return f"DatabaseSettings(url={hide_password(self.url)!r})"

    __str__ = __repr__


class JobSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`[jobs]`: queue, leases, attempts and retention of jobs."""

    max_running: Annotated[
        Positive,
        Meta(
            description="Jobs that one server runs at a time. A quarter of them, at least 2, is reserved for jobs of "
            "one or two chunks."
        ),
    ] = 32
    running_bytes: Annotated[
        Positive,
        Meta(
            description="Bytes of memory for the longer jobs that one server runs at a time, estimated from their "
            "texts. A larger job runs alone."
        ),
    ] = 256_000_000
    lease_s: Annotated[
        PositiveSeconds,
        Meta(description="Seconds without a heartbeat after which another server takes over a running job."),
    ] = 10.0
    beat_s: Annotated[
        PositiveSeconds, Meta(description="Seconds between heartbeats; at most a third of `lease_s`.")
    ] = 2.0
    max_attempts: Annotated[
        Positive,
        Meta(
            description="Failed attempts in a row without a finished chunk after which a job is FAILED. A server that "
            "dies does not count."
        ),
    ] = 3
    stall_timeout_s: Annotated[
        PositiveSeconds,
        Meta(description="Seconds since the last finished chunk after which a job without its own limit is TIMED_OUT."),
    ] = 600.0
    ttl_s: Annotated[
        PositiveSeconds, Meta(description="Seconds that a job may wait and run when its policy has no `ttl`.")
    ] = 86_400.0
    retention_run_s: Annotated[
        PositiveSeconds,
        Meta(description="Seconds that the result of `/run` is kept after the job's end (RunPod: 30 minutes)."),
    ] = 7 * 86_400.0
    retention_runsync_s: Annotated[
        PositiveSeconds,
        Meta(description="Seconds that the result of `/runsync` is kept after the job's end (RunPod: 1 minute)."),
    ] = 86_400.0
    queue_limit: Annotated[
        Positive | None, Meta(description="Waiting jobs per endpoint above which `/run` answers 429. None: no limit.")
    ] = None
    take_retries: Annotated[
        Annotated[int, Meta(ge=0, le=10)],
        Meta(description="Times that a chunk is spoken again when its take is flawed; the best take is kept."),
    ] = 2
    chunk_window: Annotated[Positive, Meta(description="Chunks of one job that a backend may hold at a time.")] = 16


class CacheSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`[cache]`: the size, age and scope of stored audio."""

    scope: Annotated[
        Literal["tenant", "shared"],
        Meta(description="Tenants that an entry may answer: its own tenant only, or all (`shared`)."),
    ] = "tenant"
    max_bytes: Annotated[
        Annotated[int, Meta(ge=0)],
        Meta(description="Bytes of finished audio kept; the least recently used is deleted first."),
    ] = 10_000_000_000
    max_age_s: Annotated[
        PositiveSeconds | None,
        Meta(description="Seconds after which an unused entry is deleted. None: age alone deletes nothing."),
    ] = None
    hot_bytes: Annotated[
        Annotated[int, Meta(ge=0)],
        Meta(
            description="Bytes of audio kept in memory, ready to be sent. Decoded requests and prepared answers are "
            "kept beside it, up to another third of this, but at least 2 MB."
        ),
    ] = 128_000_000
    stream_bytes: Annotated[
        Annotated[int, Meta(ge=0)],
        Meta(
            description="Bytes of audio and texts kept between two polls of `/stream`, for all callers. Items that do "
            "not fit, or are unread for a minute, are dropped and made again at the next poll."
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
        Meta(description="Seconds that an unused file is kept, from the first sweep that finds it unused."),
    ] = 3600.0


class EndpointSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`[endpoints.ID]`: a public name in the URL, with the defaults of its requests and its route policy."""

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
        dict[str, Any], Meta(description="The route policy: `fallback`, `arms`, `sticky_by`; see routing.md.")
    ] = {}

    def input_defaults(self) -> dict[str, Any]:
        """Return the defaults that are set for the keys of `input`."""
        named = {
            "backend": self.backend,
            "voice": self.voice,
            "language": self.language,
            "format": self.format,
            "speed": self.speed,
        }
        return {**self.defaults, **{key: value for key, value in named.items() if value is not None}}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one server. Build it with `load_settings`, or directly in a test."""

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
        Meta(description="The backends that may load, and no others. None: every installed one except `scripted`."),
    ] = None
    default_backend: Annotated[
        Text | None, Meta(description="The backend of endpoints that name none. None: the best available one.")
    ] = None
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="The least severe log lines written.")
    ] = "info"
    log_format: Annotated[Literal["console", "json"], Meta(description="Log lines for people or for machines.")] = (
        "console"
    )
    cors_origins: Annotated[
        tuple[str, ...],
        Meta(description="Web origins that may call the API from a page, such as `https://app.example.com`; `*`: any."),
    ] = ()
    metrics_access: Annotated[
        Literal["open", "key", "off"],
        Meta(description="Access to `/metrics`: `open` to all, only with a `key` of the scope `admin`, or `off`."),
    ] = "open"
    public_url: Annotated[
        Url | None,
        Meta(
            description="The public address of this server, for `audio_url`. Set it behind a proxy or in a container. "
            "None: the request's Host, and in webhooks the address that the server listens on."
        ),
    ] = None
    auto_endpoints: Annotated[
        bool | None,
        Meta(
            description="Whether an endpoint id works without being created first. None: only with the embedded SQLite."
        ),
    ] = None
    limits: Annotated[
        Literal["off", "runpod"],
        Meta(description="Limits per endpoint: none, or RunPod's figures for requests and for waiting jobs."),
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
            description="Longest chunk in characters, for every backend. A backend's own lower maximum still applies.",
            extra={"alias": "MAX_CHARS_PER_CHUNK"},
        ),
    ] = None
    hf_token: Annotated[
        Text | None,
        Meta(description="Token for downloads from the Hugging Face hub.", extra={"alias": "HF_TOKEN", **_SECRET}),
    ] = None
    webhook_allow: Annotated[
        tuple[str, ...],
        Meta(
            description="Private hosts or networks that webhooks may be sent to: `hooks.internal`, `127.0.0.1`, "
            "`10.0.0.0/8`."
        ),
    ] = ()
    webhook_bytes: Annotated[
        Positive,
        Meta(
            description="Bytes of webhook bodies held in memory at a time: texts of jobs, and pieces of their audio. "
            "Other webhooks wait. No tenant gets more than half."
        ),
    ] = 64_000_000
    max_inline_words_bytes: Annotated[
        Annotated[int, Meta(ge=0)],
        Meta(description="Most bytes of word times inside an answer. More of them: `words_url` only."),
    ] = 100_000
    max_inline_bytes: Annotated[
        Annotated[int, Meta(ge=0)],
        Meta(description="Most encoded bytes of audio inside an answer. Larger audio: `audio_url` only."),
    ] = 20_000_000
    min_free_bytes: Annotated[
        Annotated[int, Meta(ge=0)],
        Meta(
            description="Bytes that must be free in the folders of the database and of the audio. With less, the "
            "server is not ready, accepts no jobs and claims none. 0: no check."
        ),
    ] = 2_000_000
    audio_url_ttl_s: Annotated[PositiveSeconds, Meta(description="Seconds that an `audio_url` works.")] = 86_400.0
    signing_key: Annotated[
        Annotated[str, Meta(min_length=16)] | None,
        Meta(
            description="Signs audio URLs. It must be the same on every server of one database. None: made once and "
            "kept in the data folder.",
            extra=_SECRET,
        ),
    ] = None
    max_body_run_bytes: Annotated[Positive, Meta(description="Largest body of `/run`.")] = 10_000_000
    max_body_runsync_bytes: Annotated[Positive, Meta(description="Largest body of `/runsync`.")] = 20_000_000
    shutdown_grace_s: Annotated[
        Annotated[float, Meta(ge=0, le=LONGEST_S)],
        Meta(description="Seconds that running jobs may take to finish when the server stops."),
    ] = 20.0
    database: Annotated[DatabaseSettings, Meta(description="The database of jobs, keys and usage.")] = (
        DatabaseSettings()
    )
    jobs: Annotated[JobSettings, Meta(description="Queue, leases, attempts, retention.")] = JobSettings()
    cache: Annotated[CacheSettings, Meta(description="Size, age and scope of stored audio.")] = CacheSettings()
    backends: Annotated[
        dict[str, dict[str, Any]],
        Meta(description="`[backends.NAME]`: a backend's own settings, and those of its host."),
    ] = {}
    endpoints: Annotated[
        dict[str, EndpointSettings], Meta(description="`[endpoints.ID]`: endpoints made by configuration.")
    ] = {}
    origins: dict[str, str] = {}
    """The source of each value, by dotted path. Not a setting."""

    def origin(self, path: str) -> str:
        """Return the source of the setting at this path, of one inside it, or of one around it; else its variable."""
        if found := next((self.origins[each] for each in self.origins if f"{each}.".startswith(f"{path}.")), None):
            return found
        around = path
        while around := around.rpartition(".")[0]:
            if around in self.origins:
                return self.origins[around]
        return env_name(path)

    @property
    def audio_dir(self) -> Path:
        """The folder of the audio store: `cache_dir`, or `audio` in the data folder."""
        return self.cache_dir if self.cache_dir is not None else self.data_dir / "audio"

    @property
    def models_dir(self) -> Path:
        """The folder of models: `model_cache_dir`, or `models` in the data folder."""
        return self.model_cache_dir if self.model_cache_dir is not None else self.data_dir / "models"

    @property
    def database_url(self) -> str:
        """The database's SQLAlchemy URL; that of the embedded SQLite if none is set."""
        return self.database.url or f"sqlite:///{(self.data_dir / 'voxgate.db').absolute()}"

    @property
    def embedded(self) -> bool:
        """True if the database is SQLite, so that there is one machine and no database server."""
        return self.database_url.startswith("sqlite")

    @property
    def work_dirs(self) -> tuple[Path, ...]:
        """The folders in which jobs need free space: that of the audio and that of a database file."""
        if not self.embedded:
            return (self.audio_dir,)
        path = self.database_url.partition(":///")[2].partition("?")[0]
        return (Path(path).parent, self.audio_dir)

    @property
    def endpoints_on_demand(self) -> bool:
        """True if an endpoint id works without being created (`auto_endpoints` or its default)."""
        return self.embedded if self.auto_endpoints is None else self.auto_endpoints

    def __repr__(self) -> str:
        """Show every field. Of the secrets, show only whether they are set."""
        shown = []
        for name in self.__struct_fields__:
            if name == "origins":
                continue
            value = getattr(self, name)
            if name in ("api_key", "hf_token", "signing_key"):
                value = None if value is None else "***"
            elif name == "backends":
                # A vendor's key may stand here, under a name that only the plugin knows.
                value = {backend: sorted(table) for backend, table in value.items()}
            shown.append(f"{name}={value!r}")
        return f"Settings({', '.join(shown)})"

    __str__ = __repr__
