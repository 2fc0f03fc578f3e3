"""How long a training is: so many patches, or so many minutes."""

from __future__ import annotations

from dataclasses import dataclass

from liver_unet.training.bounds import POSITIVE, check


@dataclass(frozen=True)
class ByPatches:
    """Counted over all cards."""

    patches: int

    def __post_init__(self) -> None:
        check(self, {"patches": POSITIVE})

    def done(self, patches: int, seconds: float) -> float:
        """Which share of it is behind a training, 1 at its end."""
        return patches / self.patches


@dataclass(frozen=True)
class ByMinutes:
    """Of learning and validating; reading the cases comes before, the last validation after."""

    minutes: float

    def __post_init__(self) -> None:
        check(self, {"minutes": POSITIVE})

    def done(self, patches: int, seconds: float) -> float:
        """Which share of it is behind a training, 1 at its end."""
        return seconds / 60 / self.minutes
