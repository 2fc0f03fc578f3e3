"""What is refused of many cases, gathered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from liver_unet.model_errors import TrainingRefused

_Made = TypeVar("_Made")


class Refusals:
    """Raises at its end all that was refused, so that one look at the list mends all cases."""

    def __init__(self) -> None:
        self._told: list[str] = []

    def __enter__(self) -> Refusals:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._told and kind is None:
            of_several = f" ({len(self._told)} cases are refused)" if len(self._told) > 1 else ""
            raise TrainingRefused("; ".join(self._told) + of_several)

    def but(self, work: Callable[..., _Made], *given: Any) -> list[_Made]:
        """What it makes, nothing where it is refused."""
        try:
            return [work(*given)]
        except TrainingRefused as refusal:
            self._told.append(str(refusal))
            return []
