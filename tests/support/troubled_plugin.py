"""Our plugin in a real Orthanc whose calls go wrong as soon as a test says so."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tests.support.orthanc_server import CHECKOUT

Trouble = Literal["", "no database", "rubbish for a change log", "kill -9 before the preview"]

# Runs inside Orthanc, in place of plugin/orthanc_plugin.py.
_SCRIPT = '''
import os
import signal
import sys
from pathlib import Path

import orthanc

sys.path.insert(0, {plugin!r})
from orthanc_liver.host.plugin import register

TROUBLE = Path({trouble!r})


class Troubled:
    """The `orthanc` module, which itself takes no other functions."""

    def __getattr__(self, name):
        there = getattr(orthanc, name)
        if not name.startswith(("RestApi", "GetGlobal", "SetGlobal", "GetDicom")):
            return there
        return lambda *arguments: self.call(there, name, *arguments)

    def call(self, there, name, *arguments):
        trouble = TROUBLE.read_text()
        if trouble == "no database":
            raise orthanc.OrthancException(11, "Error with the database engine")
        if trouble.startswith("rubbish") and str(arguments[0]).startswith("/changes?since"):
            return b'["Secret"]'
        if trouble.startswith("kill") and str(arguments[0]).endswith("/attachments/4502"):
            TROUBLE.write_text("")
            os.kill(os.getpid(), signal.SIGKILL)
        return there(*arguments)


register(Troubled())
'''


class TroubledPlugin:
    """script: what PythonScript must name."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._trouble = folder / "trouble.txt"
        self.now("")
        self.script = folder / "troubled.py"
        self.script.write_text(
            _SCRIPT.format(plugin=str(CHECKOUT / "plugin"), trouble=str(self._trouble))
        )

    def now(self, trouble: Trouble) -> None:
        """From now on; a kill happens once."""
        new = self._trouble.with_suffix(".new")
        new.write_text(trouble)
        new.rename(self._trouble)
