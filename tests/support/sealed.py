"""A machine on which nothing can be written but in one folder: no home, no temporary folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

# Everything below is bound anew before / becomes read-only, and so stays as it is.
_SEAL = """
mount --make-rprivate /
mount --bind "$1" "$1"
mount -o remount,ro,bind /
shift
cd / && exec "$@"
"""
_NOWHERE = {"HOME": "/nonexistent", "TMPDIR": "/nonexistent", "XDG_CACHE_HOME": "/nonexistent"}


def sealed(command: Sequence[str], writable: Path) -> list[str]:
    """The command on such a machine; the test is skipped where Linux does not allow one."""
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    before = ["unshare", "--mount", *user, "bash", "-euc", _SEAL, "sealed", str(writable.resolve())]
    if not shutil.which("unshare") or subprocess.run([*before, "true"], check=False).returncode:
        pytest.skip("this machine does not let us mount anything")
    return [*before, "env", *(f"{name}={value}" for name, value in _NOWHERE.items()), *command]
