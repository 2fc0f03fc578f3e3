"""One bar for all that a command outlines, with percent and the time that is left."""

from __future__ import annotations

import sys

from orthanc_liver.engine.protocol import percent_done


class TerminalProgress:
    """Shown on a terminal alone. count: how many CT there are."""

    def __init__(self, count: int = 1) -> None:
        self._count = count
        self._before = 0

    def __enter__(self) -> TerminalProgress:
        from tqdm import tqdm

        self._bar = tqdm(
            total=100 * self._count,
            disable=None,
            leave=False,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {remaining} left",
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, stage: str, fraction: float) -> None:
        """Tell how far the CT at work is; the bar never goes back."""
        number = f"{self._before + 1} of {self._count}: " if self._count > 1 else ""
        self._bar.set_description(f"{number}{stage}", refresh=False)
        self._bar.n = max(self._bar.n, 100 * self._before + percent_done(stage, fraction))
        self._bar.refresh()

    def next(self) -> None:
        """The CT at work is done with."""
        self._before += 1
        self._bar.n = 100 * self._before

    def say(self, line: str) -> None:
        """A line on standard error, above the bar."""
        self._bar.write(line, file=sys.stderr)
