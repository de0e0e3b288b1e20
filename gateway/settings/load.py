"""Settings from everywhere, in one order: CLI flag, VOXGATE_*, the guide's alias, voxgate.toml, default.

Each value is checked on its own, where it came from still known, so that the one line of an error names the
variable to change.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from gateway.errors import SettingsError
from gateway.settings.fields import (
    ENV_PREFIX,
    NESTING,
    OPEN_TABLES,
    SettingDoc,
    endpoint_fields,
    env_name,
    plain_fields,
)
from gateway.settings.model import CacheSettings, DatabaseSettings, EndpointSettings, JobSettings, Settings
from gateway.settings.nearest import nearest
from gateway.settings.secrets import HIDDEN
from gateway.settings.values import InvalidValue, Source, convert, from_json_text

CONFIG_VARIABLE = "VOXGATE_CONFIG"
CONFIG_FILE = "voxgate.toml"

NOT_SETTINGS = {
    CONFIG_VARIABLE: "path of voxgate.toml",
    "VOXGATE_URL": "the server the command line talks to",
    "VOXGATE_HISTORIES": "how long `make soak` searches",
}
"""Variables that share the prefix and are no setting of the server."""


def load_settings(
    env: Mapping[str, str] | None = None,
    toml_path: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Read and check every setting.

    Args:
        env: the environment; None means the process's own.
        toml_path: the configuration file. None: `VOXGATE_CONFIG`, else `voxgate.toml` here if there is one.
        overrides: CLI flags by dotted path (`port`, `jobs.lease_s`); None values are flags not given.

    Raises:
        SettingsError: one line: the variable, its value, what it may be.
    """
    env = os.environ if env is None else env
    sources: dict[tuple[str, ...], Source] = {}
    for source in (
        *_from_toml(_config_path(env, toml_path)),
        *_from_aliases(env),
        *_from_env(env),
        *_from_flags(overrides or {}),
    ):
        sources[source.path] = source
    return _build(sources)


def _config_path(env: Mapping[str, str], toml_path: Path | None) -> Path | None:
    named = toml_path or (Path(env[CONFIG_VARIABLE]) if env.get(CONFIG_VARIABLE) else None)
    if named is None:
        return Path(CONFIG_FILE) if Path(CONFIG_FILE).is_file() else None
    if not named.is_file():
        raise SettingsError(f"{CONFIG_VARIABLE} = {str(named)!r}: no such file; name a voxgate.toml that exists")
    return named


def _from_toml(path: Path | None) -> Iterator[Source]:
    if path is None:
        return
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not TOML: {error}") from error
    yield from _flatten(document, "", path)


def _flatten(table: Mapping[str, Any], prefix: str, path: Path) -> Iterator[Source]:
    tables = {name.partition(".")[0] for name in plain_fields() if "." in name}
    for key, value in table.items():
        name = f"{prefix}{key}"
        origin = f"{path.name}: {name}"
        if name in plain_fields():
            yield Source(tuple(name.split(".")), origin, value)
        elif not prefix and (key in tables or key in OPEN_TABLES):
            if not isinstance(value, dict):
                raise SettingsError(f"{origin} = {value!r}: must be a table, [{key}]")
            yield from _open_table(key, value, path) if key in OPEN_TABLES else _flatten(value, f"{key}.", path)
        else:
            known = [field[len(prefix) :] for field in plain_fields() if field.startswith(prefix)] + (
                [] if prefix else [*tables, *OPEN_TABLES]
            )
            raise SettingsError(_unknown(origin, key, known))


def _open_table(table: str, entries: Mapping[str, Any], path: Path) -> Iterator[Source]:
    """`[backends.NAME]` and `[endpoints.ID]`: names are free, the keys of an endpoint are not."""
    for name, keys in entries.items():
        origin = f"{path.name}: [{table}.{name}]"
        if not isinstance(keys, dict):
            raise SettingsError(f"{origin} = {keys!r}: must be a table")
        yield Source((table, name), origin, {})
        for key, value in keys.items():
            if table == "endpoints" and key not in endpoint_fields():
                raise SettingsError(_unknown(f"{origin} {key}", key, endpoint_fields()))
            yield Source((table, name, key), f"{origin} {key}", value)


def _from_aliases(env: Mapping[str, str]) -> Iterator[Source]:
    for doc in plain_fields().values():
        if doc.alias and env.get(doc.alias):
            yield Source(tuple(doc.name.split(".")), doc.alias, env[doc.alias], is_text=True)


def _from_env(env: Mapping[str, str]) -> Iterator[Source]:
    by_variable = {doc.env: doc for doc in plain_fields().values()}
    for variable, value in sorted(env.items()):
        if not variable.startswith(ENV_PREFIX) or variable in NOT_SETTINGS:
            continue
        if doc := by_variable.get(variable):
            # Compose files pass unset variables on as empty ones; only a list can mean something by being empty.
            if value or doc.type.startswith("a list"):
                yield Source(tuple(doc.name.split(".")), variable, value, is_text=True)
            continue
        parts = variable[len(ENV_PREFIX) :].lower().split(NESTING)
        if parts[0] not in OPEN_TABLES:
            raise SettingsError(_unknown(variable, variable, [*by_variable, *NOT_SETTINGS]))
        if len(parts) < 3 or not all(parts):
            raise SettingsError(f"{variable}: needs a name and a key, {env_name(f'{parts[0]}.NAME.KEY')}")
        if parts[0] == "endpoints" and parts[2] not in endpoint_fields():
            known = [variable[: -len(NESTING.join(parts[2:]))] + key.upper() for key in endpoint_fields()]
            raise SettingsError(_unknown(variable, variable, known))
        if value:
            yield Source(tuple(parts), variable, value, is_text=True)


def _from_flags(overrides: Mapping[str, Any]) -> Iterator[Source]:
    for path, value in overrides.items():
        if value is None:
            continue
        flag = "--" + path.rpartition(".")[2].replace("_", "-")
        if path not in plain_fields():
            raise SettingsError(_unknown(flag, path, plain_fields()))
        yield Source(tuple(path.split(".")), flag, value, is_text=isinstance(value, str))


def _unknown(origin: str, name: str, known: Any) -> str:
    meant = nearest(name, known)
    return f"{origin}: no such setting; " + (
        f"did you mean {meant}?" if meant else "known: " + ", ".join(sorted(known, key=str.lower))
    )


def _build(sources: Mapping[tuple[str, ...], Source]) -> Settings:
    plain: dict[str, dict[str, Any]] = {"": {}, "database": {}, "jobs": {}, "cache": {}}
    for name, doc in plain_fields().items():
        if source := sources.get(tuple(name.split("."))):
            table, _, key = name.rpartition(".")
            plain[table][key] = _checked(source, doc)
    settings = Settings(
        **plain[""],
        database=DatabaseSettings(**plain["database"]),
        jobs=JobSettings(**plain["jobs"]),
        cache=CacheSettings(**plain["cache"]),
        backends=_named_tables("backends", sources),
        endpoints={name: _endpoint(keys) for name, keys in _grouped("endpoints", sources).items()},
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
            f"({settings.jobs.lease_s:g}), or one late beat costs the lease; set both"
        )
    return settings


def _grouped(table: str, sources: Mapping[tuple[str, ...], Source]) -> dict[str, dict[tuple[str, ...], Source]]:
    """The sources of an open table, by its entries' names."""
    grouped: dict[str, dict[tuple[str, ...], Source]] = {}
    for path, source in sources.items():
        if path[0] != table:
            continue
        _, name, *keys = path
        if source.is_text:
            # A variable cannot spell a hyphen or a capital: `MY_ENDPOINT` also means the file's `my-Endpoint`.
            name = next((known for known in grouped if _as_variable(known) == name), name)
        entry = grouped.setdefault(name, {})
        if keys:
            entry[tuple(keys)] = source
    return grouped


def _as_variable(name: str) -> str:
    return name.lower().replace("-", "_")


def _named_tables(table: str, sources: Mapping[tuple[str, ...], Source]) -> dict[str, dict[str, Any]]:
    """Backends' raw tables: values of the environment stay text, since only the plugin knows their type."""
    tables: dict[str, dict[str, Any]] = {}
    for name, keys in _grouped(table, sources).items():
        tables[name] = {}
        for path, source in keys.items():
            _put(tables[name], path, source.value)
    return tables


def _endpoint(keys: Mapping[tuple[str, ...], Source]) -> EndpointSettings:
    values: dict[str, Any] = {}
    for path, source in keys.items():
        if len(path) > 1:
            _put(values, path, from_json_text(source.value))
        else:
            values[path[0]] = _checked(source, endpoint_fields()[path[0]])
    return EndpointSettings(**values)


def _put(table: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        inner = table.get(key)
        table[key] = table = dict(inner) if isinstance(inner, dict) else {}
    table[path[-1]] = value


def _checked(source: Source, doc: SettingDoc) -> Any:
    try:
        return convert(source.value, doc.annotation, is_text=source.is_text, is_size=doc.name.endswith("_bytes"))
    except InvalidValue as error:
        shown = HIDDEN if doc.secret else repr(source.value)
        left_out = f"left out, it is {doc.default}" if doc.default else "or leave it out"
        raise SettingsError(f"{source.origin} = {shown}: must be {doc.type} ({left_out})") from error


def decode_section(struct: type[msgspec.Struct], raw: Mapping[str, Any], where: str) -> Any:
    """Decode a backend's own table into its Struct; text from the environment is read by each field's type.

    Args:
        where: the table for error messages, `backends.hibari`.

    Raises:
        SettingsError: an unknown key (with the nearest known one), a wrong type, a missing required key.
    """
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    values: dict[str, Any] = {}
    for key, value in raw.items():
        if key not in fields:
            raise SettingsError(_unknown(f"[{where}] {key}", key, fields))
        try:
            values[fields[key].name] = convert(value, fields[key].type, is_text=isinstance(value, str), is_size=False)
        except InvalidValue as error:
            # The value may be a vendor's key, so it is not shown.
            raise SettingsError(f"[{where}] {key} (or {env_name(f'{where}.{key}')}): {error}") from error
    for name, field in fields.items():
        if field.required and field.name not in values:
            raise SettingsError(f"[{where}] {name} is required; set it, or {env_name(f'{where}.{name}')}")
    return struct(**values)
