"""Where this code lies: in a checkout, or in an environment that its wheel was installed into."""

from __future__ import annotations

from pathlib import Path

# plugin/ of a checkout, or the site-packages of an environment.
_BESIDE_US = Path(__file__).resolve().parents[2]
_MODEL_OF_CHECKOUT = _BESIDE_US.parent / "model"


def default_interpreter() -> Path:
    """The Python of the environment that has the network's libraries; it need not exist."""
    if _MODEL_OF_CHECKOUT.is_dir():
        return _BESIDE_US.parent / ".venv" / "bin" / "python"
    return _BESIDE_US.parents[2] / "bin" / "python"  # of lib/pythonX.Y/site-packages


def search_path() -> list[str]:
    """Where an interpreter finds this code that does not have it by itself."""
    return [str(_BESIDE_US), str(_MODEL_OF_CHECKOUT)] if _MODEL_OF_CHECKOUT.is_dir() else []
