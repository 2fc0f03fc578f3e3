"""An environment that holds orthanc-liver from its wheel, and this one's libraries."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from tests.support.orthanc_server import CHECKOUT

_SOURCES = ("pyproject.toml", "README.md", "LICENSE", "plugin", "model")
_NOT_SOURCES = shutil.ignore_patterns("__pycache__", "*.egg-info", "development")


@dataclass(frozen=True)
class Installed:
    """What an administrator has after pip install."""

    environment: Path

    @property
    def python(self) -> Path:
        return self.environment / "bin" / "python"

    @property
    def command(self) -> Path:
        return self.environment / "bin" / "orthanc-liver"

    @property
    def packages(self) -> Path:
        [found] = self.environment.glob("lib/python*/site-packages")
        return found


def build_wheel(folder: Path) -> Path:
    """Build the wheel from a copy of the sources, as a build leaves files beside them."""
    sources = folder / "sources"
    sources.mkdir()
    for name in _SOURCES:
        if (CHECKOUT / name).is_dir():
            shutil.copytree(CHECKOUT / name, sources / name, symlinks=True, ignore=_NOT_SOURCES)
        else:
            shutil.copy(CHECKOUT / name, sources)
    _pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(sources))
    [wheel] = folder.glob("*.whl")
    return wheel


def install(wheel: Path, environment: Path) -> Installed:
    """Install the wheel alone; its dependencies are looked up in the tests' environment."""
    made = [sys.executable, "-m", "venv", "--without-pip", str(environment)]
    subprocess.run(made, check=True)
    installed = Installed(environment)
    _pip("--python", str(installed.python), "install", "--no-deps", "--no-index", str(wheel))
    # Of a folder named in this way Python reads no .pth file: our own editable install is not seen.
    libraries = installed.packages / "libraries_of_the_tests.pth"
    libraries.write_text(sysconfig.get_path("purelib") + "\n")
    return installed


def without_checkout() -> dict[str, str]:
    """The environment variables, less what leads to this checkout."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", *arguments]
    subprocess.run(command, check=True, cwd="/", env=without_checkout())
