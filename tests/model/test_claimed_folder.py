"""Two processes never write into one folder; one that is gone keeps nobody out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from liver_unet.claimed_folder import claimed
from liver_unet.model_errors import FolderTaken

HOLDS = """
import sys
from pathlib import Path
from liver_unet.claimed_folder import claimed
with claimed(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def test_a_folder_is_one_process_s_until_that_is_killed(tmp_path: Path) -> None:
    out = tmp_path / "läuft hier"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(out)],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        taken = r"another process writes into .*läuft hier"
        with pytest.raises(FolderTaken, match=taken), claimed(out):
            pass
        other.send_signal(signal.SIGKILL)
    with claimed(out):
        assert not list(out.iterdir())
    with claimed(out):
        pass
