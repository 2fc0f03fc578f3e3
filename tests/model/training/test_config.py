"""The shipped recipes, and configurations that are refused by the name of the setting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from liver_unet.model_errors import TrainingRefused
from liver_unet.training.config import SHIPPED, PlateauSchedule, load_config
from liver_unet.weights import default_weights, load_model


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
    assert names == ["coarse", "fine", "published", "tune"]
    for name in names:
        load_config(name)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("batch = 4", "batch = 1", "batch = 1: must be at least 2"),
        ("batch = 4", 'batch = "two"', "batch = 'two': must be a whole number"),
        ("batch = 4", "batch = true", "batch = True: must be a whole number"),
        ("batch = 4", "", "setting 'batch' is missing"),
        ("batch = 4", "batch = 4\nbatches = 2", "unknown setting 'batches'"),
        ("batch = 4", "batch = ", "is not TOML"),
        ("[96, 112, 112]", "[96, 112, 90]", "multiple of 16"),
        ("[96, 112, 112]", "[96, 112]", "patch = [96, 112]"),
        ("[96, 112, 112]", "[32, 96, 96]", "at least 48 slices are needed"),
        ("[-200.0, 250.0]", "[250, -200]", "the lower bound must come first"),
        ('"painted"', '"magic"', "patches = 'magic': must be one of monai, painted"),
        ("classes = 8", "classes = 3", "classes = 3: must be 2 or 8"),
        ("warmup = 400", "warmup = 1.5", "warmup = 1.5: must be a whole number"),
        ("warmup = 400", "", "[schedule] must hold exactly"),
        ("minutes = 10.0", "hours = 1", "[length] must hold exactly: patches or minutes"),
        ("minutes = 10.0", "minutes = 0", "minutes = 0.0: must be more than 0"),
        ("[96, 112, 112]", "[96, 112]", "patch = [96, 112]: must hold 3 values"),
        ("[96, 112, 112]", "96", "patch = 96: must be a list in square brackets"),
        ("[96, 112, 112]", "[-96, 112, 112]", "patch = [-96, 112, 112]: must be at least 1"),
        ("[24, 48, 96, 192, 256]", "[24, 48, 0, 192, 256]", "must be at least 1"),
        ("[24, 48, 96, 192, 256]", "[]", "channels = []: must be at least two numbers"),
        ("[-200.0, 250.0]", "[nan, 250]", "window_hu = [nan, 250.0]: must be a finite number"),
        ("spacing_mm = 1.5", "spacing_mm = nan", "spacing_mm = nan: must be from 0.1 to 50"),
        ("spacing_mm = 1.5", "spacing_mm = -1", "spacing_mm = -1.0: must be from 0.1 to 50"),
        ("reach_mm = 85.0", "reach_mm = -85.0", "reach_mm = -85.0: must be at least 0"),
        ("learning_rate = 1e-3", "learning_rate = nan", "learning_rate = nan: must be more than 0"),
        ("learning_rate = 1e-3", "learning_rate = inf", "learning_rate = inf: must be more than 0"),
        ("weight_decay = 1e-2", "weight_decay = -1", "weight_decay = -1.0: must be at least 0"),
        ("average_decay = 0.998", "average_decay = 1", "must be at least 0 and less than 1"),
        ("validations = 8", "validations = 0", "validations = 0: must be at least 1"),
        ("folds = 3", "folds = 1", "folds = 1: must be at least 2"),
        ("seed = 20261128", "seed = -1", "seed = -1: must be at least 0"),
        ("warmup = 400", "warmup = 0", "warmup = 0: must be at least 1"),
        ("cooldown = 0.35", "cooldown = 0", "cooldown = 0.0: must be more than 0 and at most 1"),
        ("minutes = 10.0", "minutes = inf", "minutes = inf: must be more than 0"),
        ('patches = "painted"', 'patches = "painted"\nshares = 3', "must be a table, [shares]"),
        ("[schedule]", "[shares]\ncut = nan\n[schedule]", "cut = nan: must be more than 0"),
        ('["lits_000", "lits_001"]', '["lits_000"]', "each group must name all volumes"),
        ('["psma_689", ', '["psma_689", "lits_001", ', "no volume may be in two groups"),
        ("[schedule]", "[augmentation]\nnoise_hu = nan\n[schedule]", "noise_hu = nan: must be"),
        ("[schedule]", "[augmentation]\noffset_hu = -5\n[schedule]", "offset_hu = -5.0: must be"),
        ("[schedule]", "[augmentation]\nsize_ratio = [0, 2]\n[schedule]", "must be more than 0"),
        (
            "[schedule]",
            "[augmentation]\ngrown_spleen_share = [0.1, 1.0]\n[schedule]",
            "grown_spleen_share = [0.1, 1.0]: must be more than -2 and less than 1",
        ),
        ("[schedule]", "[augmentation]\nfatt = 1.0\n[schedule]", "unknown setting 'fatt'"),
        ("[schedule]", "[augmentation]\nfat = 1.5\n[schedule]", "fat = 1.5: must be from 0 to 1"),
        (
            "[schedule]",
            "[augmentation]\nmass_hu = [90, 10]\n[schedule]",
            "mass_hu = [90.0, 10.0]: the lower end must come first",
        ),
    ],
)
def test_a_wrong_setting_is_refused_by_name(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = (SHIPPED / "fine.toml").read_text()
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(TrainingRefused) as refusal:
        load_config(path)
    assert str(path) in str(refusal.value)
    assert said in str(refusal.value)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(TrainingRefused, match="one of these names: coarse, fine, published"):
        load_config("publishd")


def test_a_recipe_can_set_any_number_of_the_augmentation(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        (SHIPPED / "fine.toml").read_text()
        + "[augmentation]\nturn_deg = [1, 2, 3]\nmass = 0.5\n[shares]\ncut = 0.3\n"
    )
    found, fine = load_config(path), load_config("fine")
    assert found.augmentation == replace(fine.augmentation, turn_deg=(1.0, 2.0, 3.0), mass=0.5)
    assert found.shares == replace(fine.shares, cut=0.3)


def test_the_recipe_that_teaches_the_shipped_network_further_fits_it() -> None:
    recipe = load_config("tune")
    spec = load_model(default_weights(), torch.device("cpu"))[1]
    assert recipe.channels == spec.channels
    assert recipe.classes >= spec.classes
    assert (recipe.spacing_mm, recipe.window_hu) == (spec.spacing_mm, spec.window_hu)
    assert recipe.patch == spec.patch
    assert recipe.role == spec.role
