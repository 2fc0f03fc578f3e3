"""python -m tests.beside_postgresql COMMAND: a command beside a PostgreSQL server of its own.

Every Orthanc that the command starts by tests/support has its index in that server, in a database
of its own. The server listens on loopback alone and ends with the command; the system's own
PostgreSQL is neither used nor needed to run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.orthanc_server import ENDS_WITH_US, free_port
from tests.support.patience import wait_for
from tests.support.postgresql import PORT_VARIABLE, USER, program


def main() -> int:
    """Run the command beside a server; returns its exit status."""
    with server() as number:
        environment = {**os.environ, PORT_VARIABLE: str(number)}
        return subprocess.run(sys.argv[1:], env=environment, check=False).returncode


@contextmanager
def server() -> Iterator[int]:
    """A server with an empty data folder; its port."""
    with tempfile.TemporaryDirectory(prefix="liver-postgresql-") as made:
        folder = Path(made)
        data = str(folder / "data")
        as_its_user: list[str] = []
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            shutil.chown(folder, USER, USER)
            as_its_user = ["--reuid", USER, "--regid", USER, "--clear-groups"]
        begin = [*ENDS_WITH_US, *as_its_user]
        trusting = ["--auth=trust", f"--username={USER}", "--encoding=UTF8", "--no-sync"]
        made_by = [program("initdb"), "--pgdata", data, *trusting, "--locale=C"]
        subprocess.run([*begin, *made_by], check=True, stdout=subprocess.DEVNULL, cwd=folder)
        number = free_port()
        listens = ["-h", "127.0.0.1", "-p", str(number), "-k", str(folder), "-N", "200"]
        with (folder / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                [*begin, program("postgres"), "-D", data, *listens],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
            )
        try:
            asked = [program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(number)]
            wait_for(
                "PostgreSQL",
                lambda: subprocess.run(asked, check=False).returncode == 0,
                timeout_s=30,
            )
            yield number
        finally:
            process.terminate()  # lets those finish who are connected
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


if __name__ == "__main__":
    sys.exit(main())
