"""What a computation is at, told while it runs, and how long each of its stages took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str, float], None]


def silent(stage: str, fraction: float) -> None:
    """Tell nobody."""


class Stages:
    """seconds: of each stage, in the order they ran; what runs twice counts twice.

    tell: gets the name of the stage and how much of it is done, 0 as it begins.
    """

    def __init__(self, tell: Progress = silent) -> None:
        self.seconds: dict[str, float] = {}
        self._tell = tell

    @contextmanager
    def __call__(self, stage: str) -> Iterator[Callable[[float], None]]:
        """Yield what tells how much of the stage is done: `with stages("infer") as at: at(0.5)`."""
        self._tell(stage, 0.0)
        began = time.perf_counter()
        yield lambda fraction: self._tell(stage, fraction)
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - began
