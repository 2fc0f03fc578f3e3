"""The shipped recipes, and configurations that are refused by the name of the setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from liver_unet.model_errors import TrainingRefused
from liver_unet.training.config import SHIPPED, PlateauSchedule, load_config


def test_the_published_recipe_is_the_published_one() -> None:
    """Every point that Li et al. 2025 state."""
    config = load_config("published")
    assert config.spacing_mm == 1.0
    assert config.window_hu == (-200, 250)
    assert config.patch == (128, 128, 128)
    assert config.channels == (16, 32, 64, 128, 256)
    assert config.classes == 2
    assert config.batch == 2
    assert config.learning_rate == 1e-4
    assert config.patches == "monai"
    assert config.loss == "dice_focal"
    assert isinstance(config.schedule, PlateauSchedule)
    assert config.schedule.factor == 0.5


def test_every_shipped_recipe_loads() -> None:
    names = sorted(path.stem for path in SHIPPED.glob("*.toml"))
    assert names == ["compact", "fine", "published"]
    for name in names:
        load_config(name)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("batch = 2", "batch = 0", "batch = 0: must be at least 1"),
        ("batch = 2", 'batch = "two"', "batch = 'two': must be int"),
        ("batch = 2", "batch = true", "batch = True: must be int"),
        ("batch = 2", "", "setting 'batch' is missing"),
        ("batch = 2", "batch = 2\nbatches = 2", "unknown setting 'batches'"),
        ("batch = 2", "batch = ", "is not TOML"),
        ("[80, 96, 96]", "[80, 96, 90]", "multiple of 16"),
        ("[80, 96, 96]", "[80, 96]", "patch = [80, 96]"),
        ("[80, 96, 96]", "[32, 96, 96]", "at least 48 slices are needed"),
        ("[-200.0, 250.0]", "[250, -200]", "the lower bound must come first"),
        ('"fused"', '"magic"', "patches = 'magic': must be one of monai, fused"),
        ("warmup = 200", "warmup = 1.5", "warmup = 1.5: must be int"),
        ("warmup = 200", "", "[schedule] must hold exactly"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = (SHIPPED / "compact.toml").read_text()
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(TrainingRefused) as refusal:
        load_config(path)
    assert str(path) in str(refusal.value)
    assert said in str(refusal.value)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(TrainingRefused, match="one of these names: compact, fine, published"):
        load_config("publishd")
