"""Training of the liver network; train(load_config("fine"), ...) is the whole of it."""

from liver_unet.training.cards import Cards
from liver_unet.training.config import TrainingConfig, load_config
from liver_unet.training.length import ByMinutes, ByPatches
from liver_unet.training.loop import train

__all__ = ["ByMinutes", "ByPatches", "Cards", "TrainingConfig", "load_config", "train"]
