"""The origin of a setting's value: the variable, flag or key in voxgate.toml that set it.

A message about a setting begins with its origin: `VOXGATE_PORT`, `DEVICE`, `--port`, or
`voxgate.toml: [backends.hibari] workers`.
"""

from __future__ import annotations

ENV_PREFIX = "VOXGATE_"
NESTING = "__"


def env_name(path: str) -> str:
    """Return a path's variable: `jobs.lease_s` -> `VOXGATE_JOBS__LEASE_S`. A hyphen becomes an underscore."""
    return ENV_PREFIX + path.replace(".", NESTING).replace("-", "_").upper()


def instead(origin: str, value: object) -> str:
    """Write another value at the same origin: `VOXGATE_PORT=8001`, `--port 8001`, `port = 8001 in voxgate.toml`."""
    if origin.startswith("--"):
        return f"{origin} {value}"
    file, in_file, key = origin.partition(": ")
    return f"{key} = {value!r} in {file}" if in_file else f"{origin}={value}"


def sibling(origin: str, key: str, other: str) -> str:
    """Write another key of the same table as that source writes it: a variable's name, or the key itself."""
    return origin[: -len(key)] + other.upper() if origin.startswith(ENV_PREFIX) else other
