"""How the learning rate changes, and when a training has learnt enough."""

from __future__ import annotations

from typing import Any, Protocol

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from liver_unet.training.config import PlateauSchedule, TrainingConfig, TrapezoidSchedule


class Schedule(Protocol):
    """Sets the optimiser's learning rate; its state belongs into the checkpoint."""

    @property
    def stopped(self) -> bool: ...

    def cools(self, done: float) -> bool:
        """Whether a training with this share of the length behind it is on its last way down."""

    def before_step(self, patches: int, done: float) -> None: ...
    def after_validation(self, mean_dsc: float) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def build_schedule(config: TrainingConfig, optimizer: Optimizer) -> Schedule:
    """Return the configuration's schedule for this optimiser."""
    if isinstance(config.schedule, TrapezoidSchedule):
        return Trapezoid(config.schedule, config.learning_rate, optimizer)
    return Plateau(config.schedule, optimizer)


class Trapezoid:
    """A function of the patches seen and of the share of the length: nothing to remember."""

    stopped = False

    def __init__(
        self, schedule: TrapezoidSchedule, learning_rate: float, optimizer: Optimizer
    ) -> None:
        self._schedule = schedule
        self._learning_rate = learning_rate
        self._optimizer = optimizer

    def cools(self, done: float) -> bool:
        return done > 1 - self._schedule.cooldown

    def before_step(self, patches: int, done: float) -> None:
        up = (patches + 1) / self._schedule.warmup
        down = (1 - done) / self._schedule.cooldown
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate * max(0.0, min(1.0, up, down))

    def after_validation(self, mean_dsc: float) -> None:
        pass

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class Plateau:
    """Torch's reduce-on-plateau on the validation DSC, and early stopping beside it."""

    def __init__(self, schedule: PlateauSchedule, optimizer: Optimizer) -> None:
        self._reduce = ReduceLROnPlateau(
            optimizer,
            mode="max",
            factor=schedule.factor,
            patience=schedule.patience,
            threshold=0.0,
        )
        self._stop_after = schedule.stop_after
        self._best_dsc = float("-inf")
        self._since_best = 0

    @property
    def stopped(self) -> bool:
        return self._since_best >= self._stop_after

    def cools(self, done: float) -> bool:
        return False

    def before_step(self, patches: int, done: float) -> None:
        pass

    def after_validation(self, mean_dsc: float) -> None:
        self._reduce.step(mean_dsc)
        self._since_best = 0 if mean_dsc > self._best_dsc else self._since_best + 1
        self._best_dsc = max(self._best_dsc, mean_dsc)

    def state_dict(self) -> dict[str, Any]:
        return {
            "reduce": self._reduce.state_dict(),
            "best_dsc": self._best_dsc,
            "since_best": self._since_best,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._reduce.load_state_dict(state["reduce"])
        self._best_dsc = state["best_dsc"]
        self._since_best = state["since_best"]
