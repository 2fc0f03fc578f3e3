"""Orthanc's index in PostgreSQL, where tests/beside_postgresql.py runs a server for the tests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

# Names the port to whoever runs beside the server.
PORT_VARIABLE = "LIVER_POSTGRESQL_PORT"
# Its user in PostgreSQL and, from Debian's package, in the system.
USER = "postgres"
_PROGRAMS = Path("/usr/lib/postgresql")


def port() -> int | None:
    """Where the server is that the tests run beside, None where there is none."""
    given = os.environ.get(PORT_VARIABLE)
    return int(given) if given else None


def plugin() -> Path:
    """Orthanc's plugin for PostgreSQL; it may lie where Orthanc does not load it by itself."""
    return max(Path("/usr/lib/orthanc").glob("libOrthancPostgreSQLIndex.so.*"))


def index_in_database(folder: Path) -> dict[str, Any]:
    """Orthanc's settings that put its index into a database of the folder's own."""
    return {
        "DatabaseServerIdentifier": "tests",
        "PostgreSQL": {
            "EnableIndex": True,
            "EnableStorage": False,
            "Host": "127.0.0.1",
            "Port": port(),
            "Database": _database_of(folder),
            "Username": USER,
            "Password": "",
        },
    }


def create_database(folder: Path) -> None:
    """Make the folder's database, unless it is there already."""
    name = _database_of(folder)
    if not ask("postgres", f"SELECT 1 FROM pg_database WHERE datname = '{name}'"):  # noqa: S608
        ask("postgres", f"CREATE DATABASE {name}")


def set_property(folder: Path, number: int, text: str) -> None:
    """Replace a global property of the folder's Orthanc, which must not run."""
    value = text.replace("'", "''")
    statement = f"UPDATE ServerProperties SET value='{value}' WHERE property={number}"  # noqa: S608
    ask(_database_of(folder), statement)


def properties(folder: Path) -> str:
    """All global properties of the folder's Orthanc and of its plugins."""
    tables = ("GlobalProperties", "ServerProperties")
    return "\n".join(ask(_database_of(folder), f"SELECT * FROM {one}") for one in tables)  # noqa: S608


@contextmanager
def away(folder: Path) -> Iterator[None]:
    """Meanwhile the server ends every connection to the folder's database, and takes no new one."""
    name = _database_of(folder)
    ask("postgres", f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    connected = f"FROM pg_stat_activity WHERE datname = '{name}'"
    ask("postgres", f"SELECT pg_terminate_backend(pid) {connected}")
    try:
        yield
    finally:
        ask("postgres", f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def ask(database: str, statement: str) -> str:
    """What the server answers to an SQL statement; RuntimeError where it refuses."""
    told = ["--no-psqlrc", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--command"]
    where = ["-h", "127.0.0.1", "-p", str(port()), "-U", USER, "-d", database]
    answer = subprocess.run(
        [program("psql"), *where, *told, statement], capture_output=True, text=True, check=False
    )
    if answer.returncode:
        raise RuntimeError(f"PostgreSQL refused {statement!r}: {answer.stderr}")
    return answer.stdout.strip()


def program(name: str) -> str:
    """Of the newest PostgreSQL that Debian has installed here."""
    found = sorted(_PROGRAMS.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise FileNotFoundError(
            "PostgreSQL is not installed: apt-get install postgresql orthanc-postgresql"
        )
    return str(found[-1])


def _database_of(folder: Path) -> str:
    return f"orthanc_{sha256(str(folder).encode()).hexdigest()[:16]}"
