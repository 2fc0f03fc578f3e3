"""Every module of the host is in the contract that says who imports whom."""

from __future__ import annotations

import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
PLUGIN = CHECKOUT / "plugin"


def test_every_module_of_the_host_is_in_a_layer() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    [layers] = [one["layers"] for one in contracts if "within the host" in one["name"]]
    known = [name for layer in layers for name in layer.split(" | ")]
    for path in (PLUGIN / "orthanc_liver" / "host").rglob("*.py"):
        if path.name != "__init__.py":
            module = ".".join(path.relative_to(PLUGIN).with_suffix("").parts)
            within = [name for name in known if f"{module}.".startswith(f"{name}.")]
            assert len(within) == 1, module
