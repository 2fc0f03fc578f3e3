"""What other_orthanc.sh runs imports of our requirements those that it installs, and no other."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
SCRIPT = (CHECKOUT / "tests" / "other_orthanc.sh").read_text()
HOST = CHECKOUT / "tests" / "plugin" / "host"

IMPORT_ALL = """
import importlib, sys
sys.modules.update(dict.fromkeys(sys.argv[1].split()))  # None: to import it is an error
for name in sys.argv[2:]:
    importlib.import_module(name)
"""


def package(requirement: str) -> str:
    """Its name as everybody may spell it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement)[0]).lower()


def not_installed() -> list[str]:
    """The modules of our requirements that the script does not name."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    ours = [project["dependencies"], *project["optional-dependencies"].values()]
    [named] = re.findall(r"constraints\.txt \\\n +(.+)", SCRIPT)
    missing = {package(one) for some in ours for one in some} - {*map(package, named.split())}
    return [
        module
        for module, packages in packages_distributions().items()
        if {*map(package, packages)} & (missing - {"orthanc-liver"})
    ]


def run_there() -> list[str]:
    """The modules of tests that the script does not leave out."""
    [left_out] = re.findall(r'^skipped="(.+)"$', SCRIPT, re.MULTILINE)
    paths = [*HOST.rglob("conftest.py"), *HOST.rglob("test_*.py")]
    return [
        ".".join(path.relative_to(CHECKOUT).with_suffix("").parts)
        for path in sorted(paths)
        if path.name == "conftest.py" or not re.search(left_out, path.read_text())
    ]


def test_what_runs_there_imports_what_is_there() -> None:
    missing, modules = not_installed(), run_there()
    assert {"torch", "selenium", "SimpleITK"} <= {*missing}
    assert len(modules) > 50
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, " ".join(missing), *modules],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
