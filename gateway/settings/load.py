"""Load the settings from, in order of priority: CLI flags, VOXGATE_*, the guide's aliases, voxgate.toml, defaults.

Each value is checked alone, together with its source, so that an error names the variable to change.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gateway.errors import SettingsError
from gateway.settings.fields import OPEN_TABLES, SettingDoc, endpoint_fields, plain_fields
from gateway.settings.model import CacheSettings, DatabaseSettings, EndpointSettings, JobSettings, Settings
from gateway.settings.origins import ENV_PREFIX, NESTING, env_name
from gateway.settings.secrets import HIDDEN
from gateway.settings.section import unknown
from gateway.settings.values import InvalidValue, ValueSource, convert, from_json_text

CONFIG_VARIABLE = "VOXGATE_CONFIG"
CONFIG_FILE = "voxgate.toml"

NOT_SETTINGS = {
    CONFIG_VARIABLE: "path of voxgate.toml",
    "VOXGATE_URL": "the server the command line talks to",
    "VOXGATE_HISTORIES": "how long `make soak` searches",
}
"""Variables with the prefix that are no settings of the server."""


def load_settings(
    env: Mapping[str, str] | None = None,
    toml_path: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Read and check every setting.

    Args:
        env: the environment; None means the process's own.
        toml_path: the configuration file. None: `VOXGATE_CONFIG`, else `voxgate.toml` here if there is one.
        overrides: CLI flags by dotted path (`port`, `jobs.lease_s`); None for a flag that was not given.

    Raises:
        SettingsError: one line with the variable, its value and the allowed values.
    """
    env = os.environ if env is None else env
    sources: dict[tuple[str, ...], ValueSource] = {}
    for source in (
        *_from_toml(_config_path(env, toml_path)),
        *_from_aliases(env),
        *_from_env(env),
        *_from_flags(overrides or {}),
    ):
        _refuse_wrong(source)
        sources[source.path] = source
    return _build(sources)


def _config_path(env: Mapping[str, str], toml_path: Path | None) -> Path | None:
    named = toml_path or (Path(env[CONFIG_VARIABLE]) if env.get(CONFIG_VARIABLE) else None)
    if named is None:
        return Path(CONFIG_FILE) if Path(CONFIG_FILE).is_file() else None
    if not named.is_file():
        raise SettingsError(f"{CONFIG_VARIABLE} = {str(named)!r}: no such file; name a voxgate.toml that exists")
    return named


def _from_toml(path: Path | None) -> Iterator[ValueSource]:
    if path is None:
        return
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not TOML: {error}") from error
    yield from _flatten(document, "", path)


def _flatten(table: Mapping[str, Any], prefix: str, path: Path) -> Iterator[ValueSource]:
    tables = {name.partition(".")[0] for name in plain_fields() if "." in name}
    for key, value in table.items():
        name = f"{prefix}{key}"
        origin = f"{path.name}: {name}"
        if name in plain_fields():
            yield ValueSource(tuple(name.split(".")), origin, value)
        elif not prefix and (key in tables or key in OPEN_TABLES):
            if not isinstance(value, dict):
                raise SettingsError(f"{origin}: must be a table, [{key}]")
            yield from _open_table(key, value, path) if key in OPEN_TABLES else _flatten(value, f"{key}.", path)
        else:
            known = [field[len(prefix) :] for field in plain_fields() if field.startswith(prefix)] + (
                [] if prefix else [*tables, *OPEN_TABLES]
            )
            raise SettingsError(unknown(origin, key, known))


def _open_table(table: str, entries: Mapping[str, Any], path: Path) -> Iterator[ValueSource]:
    """Yield the values of `[backends.NAME]` or `[endpoints.ID]`. Names are free; the keys of an endpoint are fixed."""
    for name, keys in entries.items():
        origin = f"{path.name}: [{table}.{name}]"
        if not isinstance(keys, dict):
            raise SettingsError(f"{origin}: must be a table, as every entry of [{table}]")
        yield ValueSource((table, name), origin, {})
        for key, value in keys.items():
            if table == "endpoints" and key not in endpoint_fields():
                raise SettingsError(unknown(f"{origin} {key}", key, endpoint_fields()))
            yield ValueSource((table, name, key), f"{origin} {key}", value)


def _from_aliases(env: Mapping[str, str]) -> Iterator[ValueSource]:
    for doc in plain_fields().values():
        if doc.alias and env.get(doc.alias):
            yield ValueSource(tuple(doc.name.split(".")), doc.alias, env[doc.alias], is_text=True)


def _from_env(env: Mapping[str, str]) -> Iterator[ValueSource]:
    by_variable = {doc.env: doc for doc in plain_fields().values()}
    for variable, value in sorted(env.items()):
        if not variable.startswith(ENV_PREFIX) or variable in NOT_SETTINGS:
            continue
        if doc := by_variable.get(variable):
            # Compose files pass unset variables on as empty ones. Only for a list is an empty value meaningful.
            if value or doc.type.startswith("a list"):
                yield ValueSource(tuple(doc.name.split(".")), variable, value, is_text=True)
            continue
        parts = variable[len(ENV_PREFIX) :].lower().split(NESTING)
        if parts[0] not in OPEN_TABLES:
            raise SettingsError(unknown(variable, variable, [*by_variable, *NOT_SETTINGS]))
        if len(parts) < 3 or not all(parts):
            raise SettingsError(f"{variable}: needs a name and a key, {env_name(f'{parts[0]}.NAME.KEY')}")
        if parts[0] == "endpoints" and parts[2] not in endpoint_fields():
            known = [variable[: -len(NESTING.join(parts[2:]))] + key.upper() for key in endpoint_fields()]
            raise SettingsError(unknown(variable, variable, known))
        if value:
            yield ValueSource(tuple(parts), variable, value, is_text=True)


def _from_flags(overrides: Mapping[str, Any]) -> Iterator[ValueSource]:
    for path, value in overrides.items():
        if value is None:
            continue
        flag = "--" + path.rpartition(".")[2].replace("_", "-")
        if path not in plain_fields():
            raise SettingsError(unknown(flag, path, plain_fields()))
        yield ValueSource(tuple(path.split(".")), flag, value, is_text=isinstance(value, str))


def _build(sources: Mapping[tuple[str, ...], ValueSource]) -> Settings:
    plain: dict[str, dict[str, Any]] = {"": {}, "database": {}, "jobs": {}, "cache": {}}
    origins: dict[str, str] = {}
    for name, doc in plain_fields().items():
        if source := sources.get(tuple(name.split("."))):
            table, _, key = name.rpartition(".")
            plain[table][key] = _checked(source, doc)
            origins[name] = source.origin
    open_tables = {table: _grouped(table, sources) for table in OPEN_TABLES}
    for table, entries in open_tables.items():
        for name, keys in entries.items():
            origins.update({".".join((table, name, *path)): source.origin for path, source in keys.items()})
    settings = Settings(
        **plain[""],
        database=DatabaseSettings(**plain["database"]),
        jobs=JobSettings(**plain["jobs"]),
        cache=CacheSettings(**plain["cache"]),
        backends={name: _raw_table(keys) for name, keys in open_tables["backends"].items()},
        endpoints={name: _endpoint(keys) for name, keys in open_tables["endpoints"].items()},
        origins=origins,
    )
    if settings.jobs.beat_s * 3 > settings.jobs.lease_s:
        origin = next(
            (
                source.origin
                for path, source in sources.items()
                if path[0] == "jobs" and path[1] in ("beat_s", "lease_s")
            ),
            "jobs",
        )
        raise SettingsError(
            f"{origin}: jobs.beat_s ({settings.jobs.beat_s:g}) must be at most a third of jobs.lease_s "
            f"({settings.jobs.lease_s:g}), or one late beat loses the lease; set both"
        )
    return settings


def _grouped(
    table: str, sources: Mapping[tuple[str, ...], ValueSource]
) -> dict[str, dict[tuple[str, ...], ValueSource]]:
    """Group the sources of an open table by the names of its entries."""
    grouped: dict[str, dict[tuple[str, ...], ValueSource]] = {}
    for path, source in sources.items():
        if path[0] != table:
            continue
        _, name, *keys = path
        if source.is_text:
            # Variables have no hyphens, and their case is ignored: `MY_ENDPOINT` also means the file's `my-Endpoint`.
            name = next((known for known in grouped if _as_variable(known) == name), name)
        entry = grouped.setdefault(name, {})
        if keys:
            entry[tuple(keys)] = source
    return grouped


def _as_variable(name: str) -> str:
    return name.lower().replace("-", "_")


def _raw_table(keys: Mapping[tuple[str, ...], ValueSource]) -> dict[str, Any]:
    """Build a backend's raw table. Values from the environment stay text: only the plugin knows their types."""
    table: dict[str, Any] = {}
    for path, source in keys.items():
        _put(table, path, source.value)
    return table


def _endpoint(keys: Mapping[tuple[str, ...], ValueSource]) -> EndpointSettings:
    values: dict[str, Any] = {}
    for path, source in keys.items():
        if len(path) > 1:
            _put(values, path, from_json_text(source.value))
        else:
            values[path[0]] = _checked(source, endpoint_fields()[path[0]])
    return EndpointSettings(**values)


def _refuse_wrong(source: ValueSource) -> None:
    """Check a value even if a source of higher priority overrides it: it would apply once that source is removed.

    The guide's aliases are not checked here, because other programs use them too (`DEVICE`).
    """
    path = source.path
    doc = plain_fields().get(".".join(path))
    if path[0] == "endpoints" and len(path) == 3:
        doc = endpoint_fields()[path[2]]
    if doc is not None and source.origin != doc.alias:
        _checked(source, doc)


def _put(table: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        inner = table.get(key)
        table[key] = table = dict(inner) if isinstance(inner, dict) else {}
    table[path[-1]] = value


def _checked(source: ValueSource, doc: SettingDoc) -> Any:
    try:
        return convert(source.value, doc.annotation, is_text=source.is_text, is_size=doc.name.endswith("_bytes"))
    except InvalidValue as error:
        shown = HIDDEN if doc.secret else repr(source.value)
        left_out = f"left out, it is {doc.default}" if doc.default else "or leave it out"
        raise SettingsError(f"{source.origin} = {shown}: must be {doc.type} ({left_out})") from error
