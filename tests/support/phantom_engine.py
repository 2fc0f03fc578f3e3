"""The real inference process around a network that knows the phantom's liver by its HU."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from liver_unet.fallback import Loaded
from orthanc_liver.engine.child_process import end_with_the_other_side
from orthanc_liver.engine.inference_process import Engine
from tests.support.liver_by_hu import segmenter_by_hu

CHECKOUT = Path(__file__).resolve().parents[2]


def interpreter(folder: Path) -> Path:
    """Write the program that the setting Interpreter names."""
    program = folder / "python"
    program.write_text(
        f'#!/bin/sh\ncd "{CHECKOUT}"\nexec "{sys.executable}" -m tests.support.phantom_engine\n'
    )
    program.chmod(0o755)
    return program


def main() -> None:
    """The process's side."""
    end_with_the_other_side(0)
    torch.set_num_threads(1)
    outgoing = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    Engine(sys.stdin.buffer, outgoing, Loaded(segmenter_by_hu(), "cpu")).serve()


if __name__ == "__main__":
    main()
