"""Where a value was set, in the words of who set it: what a message about a setting begins with, and its cure.

An origin is `VOXGATE_PORT`, `DEVICE`, `--port`, or `voxgate.toml: [backends.hibari] workers`.
"""

from __future__ import annotations

ENV_PREFIX = "VOXGATE_"
NESTING = "__"


def env_name(path: str) -> str:
    """`jobs.lease_s` -> `VOXGATE_JOBS__LEASE_S`; a variable cannot spell a hyphen."""
    return ENV_PREFIX + path.replace(".", NESTING).replace("-", "_").upper()


def instead(origin: str, value: object) -> str:
    """How the same place says another value: `VOXGATE_PORT=8001`, `--port 8001`, `port = 8001 in voxgate.toml`."""
    if origin.startswith("--"):
        return f"{origin} {value}"
    file, in_file, key = origin.partition(": ")
    return f"{key} = {value!r} in {file}" if in_file else f"{origin}={value}"


def sibling(origin: str, key: str, other: str) -> str:
    """Another key of the table `origin` is in, as it is written there: a variable's name, or the key itself."""
    return origin[: -len(key)] + other.upper() if origin.startswith(ENV_PREFIX) else other
