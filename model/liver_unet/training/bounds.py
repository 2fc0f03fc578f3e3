"""What a recipe's numbers may be; what is no number lies within no bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from liver_unet.model_errors import TrainingRefused


@dataclass(frozen=True)
class Bounds:
    """From low to high; without the end itself where that is left out."""

    low: float = -inf
    high: float = inf
    without_low: bool = False
    without_high: bool = False

    def hold(self, value: float) -> bool:
        above = self.low < value if self.without_low else self.low <= value
        below = value < self.high if self.without_high else value <= self.high
        return above and below and -inf < value < inf

    def __str__(self) -> str:
        if not self.without_low and not self.without_high and inf not in (-self.low, self.high):
            return f"from {self.low:g} to {self.high:g}"
        low = f"more than {self.low:g}" if self.without_low else f"at least {self.low:g}"
        high = f"less than {self.high:g}" if self.without_high else f"at most {self.high:g}"
        ends = [low] * (self.low > -inf) + [high] * (self.high < inf)
        return " and ".join(ends) or "a finite number"


FINITE = Bounds()
POSITIVE = Bounds(0, without_low=True)
NOT_NEGATIVE = Bounds(0)
SHARE = Bounds(0, 1)
COUNT = Bounds(1)


def check(of: object, bounds: Mapping[str, Bounds]) -> None:
    """Raise TrainingRefused for the first field, or number in it, that is beyond its bounds."""
    for name, one in bounds.items():
        value = getattr(of, name)
        told = list(value) if isinstance(value, tuple) else value
        for number in value if isinstance(value, tuple) else (value,):
            if not one.hold(number):
                raise TrainingRefused(f"{name} = {told}: must be {one}")
