"""The learning rate over steps and over validations."""

from __future__ import annotations

import torch

from liver_unet.training.config import PlateauSchedule, TrapezoidSchedule
from liver_unet.training.length import ByMinutes, ByPatches
from liver_unet.training.schedules import Schedule, build_schedule
from tests.model.training.phantom_cases import small_config


def optimizer(learning_rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], learning_rate)


def rate(of: torch.optim.Optimizer) -> float:
    return float(of.param_groups[0]["lr"])


def plateau() -> tuple[Schedule, torch.optim.Optimizer]:
    config = small_config("published", schedule=PlateauSchedule(0.5, patience=1, stop_after=4))
    by = optimizer(config.learning_rate)
    return build_schedule(config, by), by


def test_plateau_halves_after_its_patience_and_stops() -> None:
    schedule, by = plateau()
    seen = []
    for dsc in (0.5, 0.6, 0.6, 0.55, 0.7, 0.7, 0.6, 0.65, 0.7):
        assert not schedule.stopped
        schedule.after_validation(dsc)
        seen.append(round(rate(by) * 1e4, 6))
    assert seen == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125]
    assert schedule.stopped


def test_plateau_goes_on_where_it_was() -> None:
    one, by_one = plateau()
    for dsc in (0.6, 0.6):
        one.after_validation(dsc)
    other, by_other = plateau()
    other.load_state_dict(one.state_dict())
    for schedule in (one, other):
        schedule.after_validation(0.5)
    assert rate(by_one) == rate(by_other) == 0.5e-4


def trapezoid(by: torch.optim.Optimizer) -> Schedule:
    config = small_config(
        "fine", learning_rate=1.0, schedule=TrapezoidSchedule(warmup=4, cooldown=0.4)
    )
    return build_schedule(config, by)


def test_trapezoid_goes_up_stays_and_goes_down() -> None:
    by = optimizer(1.0)
    schedule = trapezoid(by)
    seen = []
    for patches in range(1, 21, 2):
        schedule.before_step(patches, patches / 20)
        seen.append(round(rate(by), 3))
    assert seen == [0.5, 1, 1, 1, 1, 1, 0.875, 0.625, 0.375, 0.125]
    assert not schedule.stopped


def test_trapezoid_cools_at_the_end_alone() -> None:
    schedule = trapezoid(optimizer(1.0))
    assert [schedule.cools(done) for done in (0.0, 0.59, 0.61, 0.99)] == [False, False, True, True]


def test_lengths() -> None:
    assert ByPatches(200).done(50, 1e9) == 0.25
    assert ByMinutes(10).done(10**9, 150) == 0.25
